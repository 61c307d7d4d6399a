"""Detections in COCO results files: scored directly, errors located, and written without loss."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import zoo
from tests.pictures import picture, write_picture
from tests.unit.tasks.detection.test_metrics import ORACLE
from zoo.cli.main import main
from zoo.errors import DataError, InputError
from zoo.evaluation.evaluate import evaluate, evaluate_predictions
from zoo.task.contract import get_task
from zoo.tasks.detection.prediction.files import read, write


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    """Annotation file without its images; ids have gaps and are not in the order of the names."""
    content = {
        "images": [{"id": 30, "file_name": "a.png"}, {"id": 7, "file_name": "sub/b.png"}, {"id": 0, "file_name": "c.png"}],
        "categories": [{"id": 9, "name": "dog"}, {"id": 2, "name": "cat"}],
        "annotations": [
            {"id": 0, "image_id": 30, "category_id": 9, "bbox": [0.1, 0.2, 10.3, 20.7]},
            {"id": 5, "image_id": 7, "category_id": 2, "bbox": [5, 5, 10, 10], "iscrowd": 0, "area": 55.5},
        ],
    }
    (tmp_path / "instances.json").write_text(json.dumps(content))
    return tmp_path


def entry(**changes: Any) -> dict[str, Any]:
    return {"image_id": 30, "category_id": 9, "bbox": [0.1, 0.2, 10.3, 20.7], "score": 0.9} | changes


def results(folder: Path, *entries: Any) -> Path:
    file = folder / "results.json"
    file.write_text(json.dumps(entries))
    return file


@pytest.mark.parametrize("evaluator", ["faster", "pycocotools"])
def test_the_official_example_by_the_command_line(shared_data: Path, capsys: pytest.CaptureFixture[str], evaluator: str) -> None:
    folder = shared_data / "coco-oracle"
    words = ["eval", "--task", "detection", "--data", f"coco:{folder}", "--evaluator", evaluator, "--replicates", "0", "--json"]
    assert main([*words, "--predictions", str(folder / "instances_val2014_fakebbox100_results.json")]) == 0
    result = json.loads(capsys.readouterr().out)
    assert list(result["scores"].values()) == pytest.approx(ORACLE, abs=1e-10)
    assert (result["n"], result["expected"], result["skipped"]) == (100, 100, [])
    assert result["details"]["pictures_without_detections"] == 1
    assert set(result["fingerprints"]) == {"data", "predictions"}


def test_answers_are_found_by_id_key_and_name(coco: Path) -> None:
    data = get_task("detection").open(f"coco:{coco}", pictures=False)
    assert data.classes == ("cat", "dog")
    file = results(coco, entry(), entry(image_id="sub/b.png", category_id="cat"), entry(image_id="b", category_id=2, score=0.2))
    found = read(file, data, data.classes)
    assert {key: answer["labels"].tolist() for key, answer in found.items()} == {"a.png": [1], "sub/b.png": [0, 0], "c.png": []}
    assert found["a.png"]["boxes"].tolist() == [[0.1, 0.2, 0.1 + 10.3, 0.2 + 20.7]]
    scores = evaluate_predictions(results(coco, entry()), "detection", f"coco:{coco}")
    assert scores["AP"] == pytest.approx(0.5)  # the dog exactly, the cat not at all
    assert scores.details["pictures_without_detections"] == 2


def test_pictures_are_needed_where_a_model_looks_at_them(coco: Path) -> None:
    with pytest.raises(DataError, match="the image is missing"):
        get_task("detection").open(f"coco:{coco}")


def test_what_the_data_leaves_out_is_passed_over_and_said(coco: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = results(coco, entry(), entry(category_id=2), entry(image_id=0))
    scores = evaluate_predictions(file, "detection", f"coco:{coco}?classes=dog&limit=1")
    assert scores["AP"] == pytest.approx(1.0)
    assert "2 detections belong to images or classes that are excluded" in caplog.text


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (entry(image_id=31), "image_id is 31; the dataset has no such image"),
        (entry(image_id="d.png"), "image_id is 'd.png'"),
        (entry(image_id=True), "image_id is True"),
        (entry(image_id=[30]), r"image_id is \[30\]"),
        (entry(category_id=3), "category_id is 3; the dataset has no such class. Its classes are"),
        (entry(bbox=[0, 0, -1, 5]), r"bbox is \[0, 0, -1, 5\]; expected .* width and height of 0 or more"),
        (entry(bbox=[0, 0, 5]), "expected four finite numbers"),
        (entry(bbox=[0, 0, float("nan"), 5]), "expected four finite numbers"),
        (entry(bbox="0 0 5 5"), "expected four finite numbers"),
        (entry(score=float("inf")), "score is inf; expected a finite number"),
        (entry(score="0.5"), "score is '0.5'"),
        (entry(score=None), "score is None"),
        ({"image_id": 30, "score": 1}, "has no category_id and no bbox"),
        ([30, 9], "has no image_id and no category_id and no bbox and no score"),
    ],
)
def test_every_fault_is_named_with_its_entry(coco: Path, wrong: Any, words: str) -> None:
    with pytest.raises(DataError, match=rf"results\.json entry 1: .*{words}") as error:
        evaluate_predictions(results(coco, entry(), wrong, entry()), "detection", f"coco:{coco}")
    assert len(error.value.faults) == 1


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{}", "does not contain a list; expected COCO results, a list of objects with image_id, category_id, bbox, score"),
        ("[1, ", "is not valid JSON: "),
        ("[" * 100_000, "is not valid JSON: "),
        ("\x00", "is not valid JSON: "),
    ],
)
def test_files_that_hold_no_results(coco: Path, content: str, words: str) -> None:
    (coco / "results.json").write_text(content)
    with pytest.raises(DataError, match=rf"results\.json {words}"):
        evaluate_predictions(coco / "results.json", "detection", f"coco:{coco}?json=instances.json")
    with pytest.raises(DataError, match=r"can't read .*file\.json: "):
        evaluate_predictions(Path("no/file.json"), "detection", f"coco:{coco}?json=instances.json")


def test_a_model_and_its_file_score_alike(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    options: dict[str, Any] = {"image_size": 64, "score_threshold": 0.0, "max_detections": 20}
    model = zoo.build("resnet18", task="detection", classes=list("0123456789"), **options)
    data, file = "demo:scenes?limit=3", tmp_path / "answers.json"
    by_model = evaluate(model, data, replicates=0, save_predictions=file)
    by_file = evaluate_predictions(file, "detection", data, replicates=0)
    assert by_file.scores == by_model.scores
    assert by_file.fingerprints["data"] == by_model.fingerprints["data"]
    assert all(isinstance(found["image_id"], str) for found in json.loads(file.read_text()))
    assert main(["compare", str(file), str(file), "--task", "detection", "--data", data, "--replicates", "50", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["differences"]["AP"]["distinguishable"] is False


def test_numbers_survive_the_file(coco: Path) -> None:
    data = get_task("detection").open(f"coco:{coco}", pictures=False)
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 500, (50, 2)).astype(np.float32)
    answer = {
        "boxes": np.concatenate([corners, corners + rng.uniform(0, 100, (50, 2)).astype(np.float32)], axis=1),
        "scores": rng.random(50).astype(np.float32),
        "labels": rng.integers(0, 2, 50),
    }
    write(coco / "out.json", {"a.png": answer}, data, data.classes)
    assert {entry["image_id"] for entry in json.loads((coco / "out.json").read_text())} == {30}
    found = read(coco / "out.json", data, data.classes)["a.png"]
    for name, values in answer.items():
        np.testing.assert_array_equal(found[name].astype(values.dtype), values)
    with pytest.raises(InputError, match=re.escape("expected a file ending in .json, got '.csv'")):
        write(coco / "out.csv", {}, data, data.classes)


def test_results_beside_the_annotations_are_not_taken_for_them(coco: Path) -> None:
    (coco / "instances.json").rename(coco / "instances_val.json")
    (coco / "instances_val_results.json").write_text(f"\n {json.dumps([entry()])}")
    write_picture(coco / "a.png", picture((9, 9, 9)))
    data = get_task("detection").open(f"coco:{coco}", "skip")
    assert data.keys == ("a.png",)
