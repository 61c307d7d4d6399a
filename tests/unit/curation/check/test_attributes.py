"""Checks of data with several labels per image, and of attributes of boxes, with and without declared values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.pictures import COLOURS, picture, write_picture
from tests.unit.tasks.detection.attributes.squares import squares, write_squares
from zoo.cli.main import main
from zoo.curation.check.examination import examine
from zoo.data.dataset import Dataset, Record


def _checked(capsys: pytest.CaptureFixture[str], status: int, *words: object) -> dict[str, Any]:
    assert main(["data", "check", *map(str, words), "--workers", "0", "--json", "--quiet"]) == status
    content: dict[str, Any] = json.loads(capsys.readouterr().out)
    return content


def test_undeclared_values_of_attributes_are_errors_with_their_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = squares(4)
    images[1][0]["attributes"]["colour"] = "gren"
    data = f"coco:{write_squares(tmp_path, images)}"
    assert "attribute-value" not in _checked(capsys, 1, data)["counts"]
    found = _checked(capsys, 1, data, "--attributes", "colour=red,green,blue;marked=false,true")
    assert found["task"] == "detection"
    assert found["attributes"]["colour"]["gren"] == 1
    (only,) = [each for each in found["findings"] if each["severity"] == "error"]
    assert (only["kind"], only["key"], only["place"]) == ("attribute-value", "1.png", "annotation id 12")
    assert "instances_default.json: annotation id 12: the attribute 'colour' is 'gren'" in only["text"]
    assert "Nearest: green" in only["text"]


def test_attributes_that_no_box_has(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = f"coco:{write_squares(tmp_path, squares(4))}"
    found = _checked(capsys, 1, data, "--attributes", "color=red,green,blue")
    texts = {(each["kind"], each["key"]): each["text"] for each in found["findings"]}
    assert texts["attribute", "color"].startswith("is declared, but no box has a value of it; the attributes in the data are: colour,")
    assert main(["data", "check", data, "--attributes", "colour=red"]) == 2
    assert "expected at least two different ones" in capsys.readouterr().err
    assert main(["data", "check", data, "--attributes", "colour=red,green", "--multi-label"]) == 2
    assert "unknown option of the task classification: 'attributes'" in capsys.readouterr().err


def test_wrong_values_of_several_labels_name_line_and_column(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, colour in COLOURS.items():
        write_picture(tmp_path / f"{name}.png", picture(colour))
    table = tmp_path / "labels.csv"
    table.write_text("path,cat,dog\nblue.png,1,0\ngreen.png,2,\nred.png,,maybe\n")
    found = _checked(capsys, 1, f"csv:{table}", "--multi-label")
    wrong = [(each["key"], each["place"], each["text"][:28]) for each in found["findings"] if each["kind"] == "unknown-label"]
    assert wrong == [("labels.csv", "line 3", "the column 'cat' is '2'; exp"), ("labels.csv", "line 4", "the column 'dog' is 'maybe';")]
    table.write_text("path,cat,dog\nblue.png,1,0\ngreen.png,0,\nred.png,,1\n")
    again = _checked(capsys, 1, f"csv:{table}", "--multi-label")
    assert (again["classes"], [*again["counts"]]) == ({"cat": 1, "dog": 1}, ["near-duplicate", "assumed"]), "the colours look alike"


def test_wrong_targets_of_samples_are_errors_by_key() -> None:
    images = [picture(colour) for colour in COLOURS.values()]
    targets = [[1, 0], [0.5, 0], [1, 0, 1]]
    samples = [Record(f"s{number}", image, target) for number, (image, target) in enumerate(zip(images, targets, strict=True))]
    data = Dataset("here", tuple(samples), ("cat", "dog"))
    found = examine(data, "classification", options={"multi_label": True}, workers=0).findings
    assert [(each.key, each.text[:36]) for each in found.of("unknown-label")] == [
        ("s1", "the target of class 0 is 0.5; expect"),
        ("s2", "its target is of shape (3,); expecte"),
    ]
