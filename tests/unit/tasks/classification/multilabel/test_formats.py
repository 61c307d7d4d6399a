"""Tests of the data formats of multi-label classification: tables, COCO and VOC, and formats with one class per image."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import zoo
from tests.pictures import picture, write_class_folders, write_picture
from zoo.data.dataset import Dataset
from zoo.errors import DataError, InputError, UnknownNameError, ZooError
from zoo.task.contract import get_task

NAN = float("nan")
NAMES = ("0.png", "1.png", "2.png")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for index, name in enumerate(NAMES):
        write_picture(tmp_path / name, picture((index, 0, 0), index, (8, 8)))
    return tmp_path


def opened(data: str, said: list[str] | None = None, **options: Any) -> Dataset:
    say = None if said is None else said.append
    return zoo.open_data(data, "classification", multi_label=True, say=say, **options)


def table(folder: Path, text: str, query: str = "") -> str:
    (folder / "labels.csv").write_text(text, encoding="utf-8")
    return f"csv:{folder}/labels.csv{query}"


def targets(dataset: Dataset) -> list[list[float]]:
    assert all(record.target.dtype == np.float32 for record in dataset.records)
    return [record.target.tolist() for record in dataset.records]


def test_a_column_per_class_with_unknown_labels(folder: Path) -> None:
    said: list[str] = []
    data = opened(table(folder, "path,dog,cat,bird\n0.png,1,0,\n1.png,1.0,True,0.0\n2.png,,FALSE,nan\n"), said)
    assert data.classes == ("dog", "cat", "bird")
    np.testing.assert_array_equal(targets(data), [[1, 0, NAN], [1, 1, 0], [NAN, 0, NAN]])
    assert any(text.endswith("each class has a column: dog, cat, bird") for text in said)


def test_splits_chosen_columns_and_the_order_of_classes(folder: Path) -> None:
    text = "path,dog,cat,age,split\n0.png,1,0,7,train\n1.png,0,1,8,train\n2.png,1,1,9,val\n"
    data = opened(table(folder, text, "?split=train&classes=cat,dog"))
    assert data.classes == ("cat", "dog")
    assert targets(data) == [[0, 1], [1, 0]]
    (folder / "classes.txt").write_text("cat\ndog\nyak\n")
    data = opened(table(folder, "path,dog,cat\n0.png,1,0\n"))
    assert data.classes == ("cat", "dog", "yak")
    np.testing.assert_array_equal(targets(data), [[0, 1, NAN]])


@pytest.mark.parametrize("cell", ["2", "-1", "yes", "0.5", "cat dog"])
def test_another_value_is_named_with_its_file_line_and_column(folder: Path, cell: str) -> None:
    data = table(folder, f"path,dog,cat\n0.png,1,0\n1.png,0,{cell}\n")
    words = rf"labels.csv line 3: the column 'cat' is '{cell}'; expected 1, 0 or an empty cell \(unknown\). .* \?classes=.* \?labels="
    with pytest.raises(DataError, match=words):
        opened(data)
    skipped = opened(data, on_error="skip")
    assert skipped.keys == ("0.png",)
    assert skipped.skipped[0].whole


@pytest.mark.parametrize(
    ("header", "cells", "query"),
    [
        ("label", ("cat|dog", "", "dog"), ""),
        ("tags", ("cat; dog", "", "dog"), ""),
        ("Labels", ('"cat,dog"', '""', "dog"), ""),
        ("label", ("\"['cat', 'dog']\"", "[]", "['dog']"), ""),
        ("found", ("cat dog", "", "dog"), "?labels=found&delimiter=%20"),
        ("found", ("cat/dog/", "", "dog/dog"), "?labels=found&delimiter=/"),
    ],
)
def test_lists_of_labels(folder: Path, header: str, cells: tuple[str, ...], query: str) -> None:
    text = f"path,{header}\n" + "".join(f"{name},{cell}\n" for name, cell in zip(NAMES, cells, strict=True))
    data = opened(table(folder, text, query))
    assert data.classes == ("cat", "dog")
    assert targets(data) == [[1, 1], [0, 0], [0, 1]]


def test_the_separator_is_reported(folder: Path) -> None:
    said: list[str] = []
    opened(table(folder, "path,label\n0.png,cat|dog\n"), said)
    assert [text.partition(": ")[2] for text in said] == [
        "columns are read by other names: 'label' as labels", "labels are separated by '|'"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "query", "error", "message"),
    [
        ("path,label\n0.png,a\n", "?labels=tags", DataError, "no column tags; expected a header with path, a column of 1 and 0 for each"),
        ("path,label\n0.png,a\n", "?delimiter=", InputError, "delimiter is empty"),
        ("path\n0.png\n", "", DataError, "no column labels"),
        ("path,cat\n0.png,1\n", "?classes=dog", DataError, "no column labels"),
        ("path,cat,dog\n0.png,1,0\n0.png,0,1\n", "", DataError, "'0.png' is listed a second time"),
        ("path,cat,dog\n9.png,1,0\n", "", DataError, "9.png"),
        ("path,cat,dog,split\n0.png,1,0,a\n1.png,1,0,b\n", "", InputError, "has the splits a, b"),
        ("path,cat,dog\n0.png,1,0\n", "?label=cat", UnknownNameError, "option of csv"),
    ],
)
def test_tables_with_errors(folder: Path, text: str, query: str, error: type[ZooError], message: str) -> None:
    with pytest.raises(error, match=message):
        opened(table(folder, text, query))


def coco(root: Path, annotations: list[dict[str, Any]]) -> str:
    content = {
        "images": [{"id": number, "file_name": name, "height": 8, "width": 8} for number, name in enumerate(NAMES)],
        "categories": [{"id": 3, "name": "dog"}, {"id": 1, "name": "cat"}, {"id": 9, "name": "bird"}],
        "annotations": annotations,
    }
    (root / "instances.json").write_text(json.dumps(content))
    return f"coco:{root}"


def annotated(image: int, category: int, **more: Any) -> dict[str, Any]:
    return {"image_id": image, "category_id": category, "bbox": [1, 1, 3, 3], **more}


def test_coco_states_which_categories_occur(folder: Path) -> None:
    crowd = annotated(1, 9, iscrowd=1, area=4)
    data = coco(folder, [annotated(0, 3, id=0), annotated(0, 3, id=1), annotated(0, 1, bbox=[0, 0, 0, 0]), crowd])
    for text in (data, f"{data}?as=labels", str(folder)):
        found = opened(text)
        assert found.classes == ("cat", "dog", "bird")
        assert targets(found) == [[1, 1, 0], [0, 0, 1], [0, 0, 0]]
    chosen = opened(f"{data}?classes=bird,dog")
    assert (chosen.classes, targets(chosen)) == (("bird", "dog"), [[0, 1], [1, 0], [0, 0]])


def test_coco_with_errors(folder: Path) -> None:
    with pytest.raises(InputError, match="as is 'boxes'; expected labels"):
        opened(coco(folder, []) + "?as=boxes")
    with pytest.raises(DataError, match=r"annotations\[0\]: category_id is 4; there is no such category"):
        opened(coco(folder, [annotated(0, 4)]))
    with pytest.raises(DataError, match=r"annotations\[0\] is for image_id 7, which is not in images"):
        opened(coco(folder, [annotated(7, 1)]))
    data = coco(folder, [annotated(0, 1)])
    (folder / "0.png").unlink()
    assert targets(opened(data, on_error="skip")) == [[0, 0, 0], [0, 0, 0]]
    with pytest.raises(DataError, match="the image is missing"):
        opened(data)
    with pytest.raises(UnknownNameError, match=r"data format of classification.*coco"):
        zoo.open_data(data, "classification")


def voc(root: Path, objects: dict[str, list[tuple[str, int]]]) -> str:
    (root / "Annotations").mkdir(exist_ok=True)
    for name, found in objects.items():
        entries = "".join(f"<object><name>{label}</name><difficult>{hard}</difficult></object>" for label, hard in found)
        text = f"<annotation><filename>{name}</filename>{entries}</annotation>"
        (root / "Annotations" / f"{Path(name).stem}.xml").write_text(text)
    return f"voc:{root}"


def test_voc_states_which_classes_occur_and_difficult_ones_are_unknown(folder: Path) -> None:
    data = voc(folder, {"0.png": [("dog", 0), ("dog", 1)], "1.png": [("cat", 1), ("cat", 1)], "2.png": [("cat", 1), ("cat", 0)]})
    for text in (data, f"{data}?as=labels", str(folder)):
        found = opened(text)
        assert found.classes == ("cat", "dog")
        np.testing.assert_array_equal(targets(found), [[0, 1], [NAN, 0], [1, 0]])


def test_voc_with_errors(folder: Path) -> None:
    data = voc(folder, {"0.png": [("dog", 0), ("", 0)], "1.png": []})
    with pytest.raises(DataError, match=r"0.xml object 2: the object has no name|object 2: the object has no name"):
        opened(data)
    with pytest.raises(InputError, match="as is 'x'"):
        opened(f"{data}?as=x")
    (folder / "Annotations" / "1.xml").write_text("<annotation>")
    (folder / "Annotations" / "9.xml").write_text("<annotation><filename>9.png</filename></annotation>")
    found = opened(data, on_error="skip")
    assert found.keys == ("0.png",)
    assert sorted(fault.key for fault in found.skipped if fault.whole) == ["Annotations/1.xml", "Annotations/9.xml"]
    (folder / "empty").mkdir()
    with pytest.raises(DataError, match="has no folder Annotations, and contains no XML files"):
        opened(f"voc:{folder}/empty")


def test_data_with_one_class_per_image(tmp_path: Path) -> None:
    found = opened(f"folder:{write_class_folders(tmp_path / 'data', 1)}")
    assert found.classes == ("blue", "green", "red")
    assert targets(found) == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert targets(opened("demo:digits?limit=1")) == [[1, *[0] * 9]]


def test_formats_of_other_tasks_and_variants_are_named() -> None:
    words = r"unknown data format of classification 'coco'\. .* coco: is a format of the task detection \(--task detection\) and of"
    with pytest.raises(UnknownNameError, match=words + r" classification with multi_label=True \(--multi-label\)\."):
        get_task("classification").open("coco:x")
    with pytest.raises(UnknownNameError, match=r"yolo: is a format of the task detection \(--task detection\)\.$"):
        get_task("classification", {"multi_label": True}).open("yolo:x")
    with pytest.raises(UnknownNameError, match=r"unknown data format of classification 'foldr'\. Nearest: folder\. Known: .*hf\.$"):
        get_task("classification").open("foldr:x")
