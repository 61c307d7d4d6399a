"""Every verb with attributes, by the command line: a short training, and what follows from it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import zoo
from tests.engines import KEEPING
from tests.unit.tasks.detection.attributes.squares import ATTRIBUTES, squares, write_squares
from zoo.cli.main import main

FLAG = "colour=red,green,blue;marked=false,true"
SMALL = ["--image-size", "48", "--fpn-channels", "16", "--representation-size", "16", "--roi-batch", "32", "--proposals", "50"]
TRAIN = ["train", "--task", "detection", "--backbone", "test_resnet", *SMALL, "--epochs", "2", "--batch-size", "3", "--workers", "0"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset, `data`, and a run on it, `run`."""
    root = tmp_path_factory.mktemp("attributes")
    write_squares(root / "data", squares(7))
    words = [*TRAIN, "--data", f"coco:{root / 'data'}", "--val", f"coco:{root / 'data'}", "--attributes", FLAG, "--out", str(root / "run")]
    assert main([*words, "--quiet", "--score-threshold", "0"]) == 0
    return root


def run(words: list[str], capsys: pytest.CaptureFixture[str]) -> Any:
    assert main([*words, "--json", "--quiet"]) == 0
    return json.loads(capsys.readouterr().out)


def test_train(folder: Path) -> None:
    entries = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
    assert len(entries) == 2
    assert {"loss_attribute_colour", "loss_attribute_marked"} <= set(json.dumps(entries).replace('"', " ").split())
    description = json.loads((folder / "run" / "model" / "model.json").read_text())
    assert ATTRIBUTES in json_values(description)
    assert "attribute_accuracy" in (folder / "run" / "report.html").read_text()


def json_values(content: Any) -> list[Any]:
    """Return all values in nested JSON objects."""
    return [content] + ([inner for value in content.values() for inner in json_values(value)] if isinstance(content, dict) else [])


def test_training_without_the_flag_says_what_it_ignores(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_squares(tmp_path / "data", squares(5))
    assert main([*TRAIN, "--data", f"coco:{data}", "--out", str(tmp_path / "run")]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "the data has attributes that the model ignores: colour (blue, green, red), marked (true, false)" in said
    assert zoo.load(tmp_path / "run").config.options["attributes"] is None


@pytest.mark.parametrize(("flag", "message"), [
    ("colour=red,green,blue;shape=round,square", "no box has a value of the attribute 'shape', so it can't be learned"),
    ("colour=red,green", "the attribute 'colour' is 'blue'; the model declares red, green"),
    ("colour", "isn't a list of unique names with their values"),
    ("colour=a,b;colour=c,d", "isn't a list of unique names with their values"),
    ("colour=red", "expected at least two different ones"),
])  # fmt: skip
def test_wrong_flags_end_before_the_first_step(flag: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_squares(tmp_path / "data", squares(5))
    try:
        status = main([*TRAIN, "--data", f"coco:{data}", "--attributes", flag, "--out", str(tmp_path / "run")])
    except SystemExit as stop:  # tyro ends the program if a flag can't be parsed
        status = int(stop.code or 0)
    assert status == 2
    shown = capsys.readouterr().err.replace("│", " ")
    assert message.replace(" ", "") in "".join(shown.split())
    assert not (tmp_path / "run").exists()


def test_eval_and_report(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, report = folder / "found.json", folder / "report.html"
    words = ["eval", "--data", f"coco:{folder / 'data'}", "--replicates", "20"]
    scores = run([*words, str(folder / "run"), "--save-predictions", str(file), "--report", str(report)], capsys)
    assert {"attribute_accuracy", "attribute_AP", "attribute_AP50"} <= set(scores["scores"])
    assert {"attribute_accuracy", "attribute_AP"} <= set(scores["intervals"])
    assert set(scores["details"]["attributes"]["colour"]["values"]) == {"red", "green", "blue"}
    assert "Attributes" in report.read_text()
    again = run([*words, "--task", "detection", "--predictions", str(file), "--attributes", FLAG], capsys)
    assert again["scores"] == scores["scores"]
    tta = run([*words, str(folder / "run"), "--tta", "flip"], capsys)
    assert tta["scores"]["attribute_accuracy"] is not None
    both = run([*words, str(folder / "run"), str(folder / "run" / "model")], capsys)
    assert both["scores"]["attribute_accuracy"] == pytest.approx(scores["scores"]["attribute_accuracy"], abs=0.2)


def test_data_without_the_attributes_has_scores_of_boxes_alone(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = [[{name: value for name, value in each.items() if name != "attributes"} for each in objects] for objects in squares(4)]
    scores = run(["eval", str(folder / "run"), "--data", f"coco:{write_squares(tmp_path, images)}", "--replicates", "10"], capsys)
    assert scores["scores"]["AP"] is not None
    assert scores["scores"]["attribute_accuracy"] is None
    assert "attribute_AP" not in scores["intervals"]


def test_predict(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = str(folder / "data" / "images" / "0.png")
    assert main(["predict", str(folder / "run"), picture, "--json", "--quiet", "--out", str(folder / "drawn")]) == 0
    first = json.loads(capsys.readouterr().out.splitlines()[0])
    first = first.get("predictions", [first])[0] if isinstance(first, dict) else first[0]
    assert len(first["attributes"]) == len(first["boxes"])
    assert set(first["attributes"][0]) == {"colour", "marked"}
    assert first["attributes"][0]["colour"]["value"] in ATTRIBUTES["colour"]


@pytest.mark.parametrize("engine", [KEEPING[0], "eager"])
def test_compiled_and_exported_models_have_the_same_attributes(engine: str, folder: Path, tmp_path: Path) -> None:
    model = zoo.load(folder / "run", image_size=128, max_image_size=256)
    fast = zoo.compile(model, engine=engine, precision="fp32")
    images = [np.asarray(record.load().image) for record in zoo.open_data(f"coco:{folder / 'data'}", "detection").records[:2]]
    exported = zoo.load(zoo.save(fast, tmp_path / "fast"))
    with torch.inference_mode():
        wanted = model.eval()(images)
        for other in (fast, exported):
            for one, two in zip(wanted, other(images), strict=True):
                assert list(two["attributes"]) == ["colour", "marked"]
                assert two["attributes"]["colour"].shape == (len(two["boxes"]), 3)
                np.testing.assert_allclose(one["scores"], two["scores"], atol=1e-4)
                for name in ATTRIBUTES:
                    np.testing.assert_allclose(one["attributes"][name], two["attributes"][name], atol=1e-3)
