"""Operating points of exported models, of fine-tuned models, and of the command line with several heads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import zoo
from tests.pictures import cut_short, write_picture
from zoo.cli.main import main
from zoo.errors import DataError, InputError
from zoo.models.model import Model

DATA = "demo:digits?split=test&limit=16"
DIGITS = tuple(map(str, range(10)))


def labels_model(**options: Any) -> Model:
    torch.manual_seed(0)
    return zoo.build("resnet20", classes=DIGITS, multi_label=True, **options)


def test_exported_models_are_tuned_and_exports_keep_the_operating_point(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    model = labels_model()
    exported = tmp_path / "exported"
    zoo.export(model, exported, "openvino", precision="fp32")
    before = {path.name: path.read_bytes() for path in exported.iterdir()}
    point = zoo.tune(exported, DATA, "recall=1", replicates=0)
    after = {path.name: path.read_bytes() for path in exported.iterdir()}
    assert [name for name in before if before[name] != after[name]] == ["model.json"]
    again = zoo.load(exported)
    assert again.metadata["thresholds"] == {name: each.threshold for name, each in point.classes.items()}
    scores = zoo.evaluate(again, DATA, replicates=0)
    assert scores["recall_micro"] == 1
    compiled = tmp_path / "second"
    tuned = zoo.tune(model, DATA, "recall=1", replicates=0)
    zoo.export(model, compiled, "openvino", precision="fp32")
    description = json.loads((compiled / "model.json").read_text())
    assert description["metadata"]["operating_point"]["fingerprint"] == tuned.fingerprint
    assert description["metadata"]["thresholds"] == model.metadata["thresholds"]


def test_training_resets_the_operating_point(tmp_path: Path) -> None:
    model = zoo.build("resnet20", classes=("0", "1"))
    zoo.tune(model, "demo:digits?split=test&classes=0,1&limit=12", replicates=0)
    assert {"thresholds", "operating_point"} <= set(model.metadata)
    recipe = zoo.recipe("classification", steps=1, batch_size=4)
    run = zoo.train(model, "demo:digits?classes=0,1&limit=8", recipe=recipe, out=tmp_path / "run")
    assert not {"thresholds", "operating_point"} & set(run.model.metadata)


def test_heads_are_named_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    classes = {"labels": DIGITS, "pair": ("0", "1")}
    model = zoo.build("resnet20", dict.fromkeys(classes, "classification"), classes=classes, multi_label={"labels": True})
    folder = zoo.save(model, tmp_path / "m")
    assert main(["tune", str(folder), "--data", DATA, "--quiet"]) == 2
    assert "expected NAME=DATA, where NAME is a head of the model (labels, pair)" in capsys.readouterr().err
    words = ["tune", str(folder), "--data", f"labels={DATA}", "--data", "pair=demo:digits?split=test&classes=0,1&limit=12"]
    assert main([*words, "--replicates", "0", "--quiet"]) == 0
    printed = capsys.readouterr().out
    assert printed.index("labels:") < printed.index("pair:")
    assert main([*words, "--replicates", "0", "--quiet", "--json"]) == 0
    assert [*json.loads(capsys.readouterr().out)["heads"]] == ["labels", "pair"]
    assert main(["tune", str(folder), "--quiet"]) == 2
    assert "no data: pass --data" in capsys.readouterr().err
    assert main([*words, "--replicates", "-1", "--quiet"]) == 2
    assert "--replicates is -1; expected 0 or more" in capsys.readouterr().err


def test_classes_that_the_data_lacks_keep_their_default(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = zoo.save(labels_model(), tmp_path / "m")
    before = (folder / "model.json").read_bytes()
    words = ["tune", str(folder), "--data", "demo:digits?split=test&classes=3&limit=4", "--quiet", "--replicates", "0"]
    assert main([*words, "--target", "precision=1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [*found["kept"]] == [name for name in DIGITS if name != "3"]
    assert found["classes"]["3"]["precision"] == 1
    stored = json.loads((folder / "model.json").read_text(encoding="utf-8"))["metadata"]["operating_point"]
    assert (folder / "model.json").read_bytes() != before
    assert [*stored["classes"]] == ["3"]
    assert stored["kept"] == [name for name in DIGITS if name != "3"]


def test_nothing_is_stored_without_a_threshold_or_an_image(tmp_path: Path) -> None:
    model = zoo.build("resnet20", classes=("0", "1"))
    with pytest.raises(InputError, match=r"no threshold can be chosen \(1: no objects in the validation data\); nothing was stored"):
        zoo.tune(model, "demo:digits?split=test&classes=0&limit=4", replicates=0)
    for name in ("0", "1"):
        write_picture(tmp_path / name / "a.png", np.zeros((16, 16, 3), np.uint8))
        cut_short(tmp_path / name / "a.png")
    with pytest.raises(DataError, match="none of its 2 images can be read"):
        zoo.tune(model, f"folder:{tmp_path}", replicates=0, on_error="skip")
    assert "thresholds" not in model.metadata
