"""Licences of weights on the command line: `zoo list --weights`, `zoo info`, and `--licence-policy`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

import zoo
from tests.pictures import COLOURS, write_class_folders
from zoo.backbones import Licence
from zoo.cli.main import main

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A saved model whose weights are for research only."""
    model = zoo.build("resnet20", classes=sorted(COLOURS), image_size=16)
    licence = Licence("resnet20.x", "CC-BY-NC-4.0", "https://example.org")
    model.config = replace(model.config, licences=(licence,))
    return zoo.save(model, tmp_path / "saved")


def test_weights_are_listed_with_their_licences(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--weights", "inception*"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        ["inception_resnet_v1.vggface2", "research", "only", "https://github.com/timesler/facenet-pytorch"],
        ["inception_resnet_v1.casia-webface", "unknown", "https://github.com/timesler/facenet-pytorch"],
    ]
    assert main(["list", "dlib*", "--weights", "--json"]) == 0
    (entry,) = json.loads(capsys.readouterr().out)["weights"]
    assert (entry["licence"], entry["permissive"]) == ("CC0-1.0", True)
    assert main(["list", "--weights", "zzz*"]) == 2
    assert """no weights match 'zzz*'; list all with: zoo list --weights "*\"""" in capsys.readouterr().err


def test_weights_and_models_are_described_with_their_licences(
    saved: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZOO_LICENCE_POLICY", "permissive")  # refuses to load the model, not to describe it
    assert main(["info", "resnet50.a1_in1k", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["licence"] == "Apache-2.0"
    assert main(["info", str(saved)]) == 0
    assert "resnet20.x: CC-BY-NC-4.0 https://example.org" in capsys.readouterr().out
    assert main(["tune", str(saved), "--data", "folder:absent", "--target", "f1"]) == 2
    assert "because the environment variable ZOO_LICENCE_POLICY is 'permissive'" in " ".join(capsys.readouterr().err.split())


def test_a_policy_holds_for_saved_models_and_weights(saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_class_folders(tmp_path / "data", per_class=2)
    source = ["--backbone", "resnet18", "--weights", "IMAGENET1K_V1"]
    data = f"folder:{tmp_path / 'data'}"
    for words in (
        ["predict", str(saved), str(tmp_path / "data")],
        ["eval", str(saved), "--data", data],
        ["export", str(saved), "--out", str(tmp_path / "out")],
        ["train", "--data", data, *source, "--out", str(tmp_path / "out")],
        ["train", "--data", f"a={data}", "--task", "a=classification", *source, "--out", str(tmp_path / "out")],
        ["train", "--data", f"a={data}", "--task", "a=classification", "--weights", str(saved), "--out", str(tmp_path / "out")],
    ):
        assert main([*words, "--licence-policy", "permissive"]) == 2
        assert "because licence_policy (--licence-policy) is 'permissive'" in " ".join(capsys.readouterr().err.split()), words
    assert not (tmp_path / "out").exists()


def test_a_run_is_resumed_whatever_its_licences_are(saved: Path, tmp_path: Path) -> None:
    data, out = write_class_folders(tmp_path / "data", per_class=4), tmp_path / "run"
    model = zoo.load(saved)
    recipe = zoo.recipe("classification", epochs=1, batch_size=4, workers=0)
    run = zoo.train(model, f"folder:{data}", recipe=recipe, out=out)
    assert [each.weights for each in zoo.load(run.folder).config.licences] == ["resnet20.x"]
    other = zoo.load(saved)
    other.config = replace(other.config, licences=(Licence("resnet20.x", "MIT"),))
    zoo.train(other, f"folder:{data}", recipe=recipe, out=out, resume=True)
