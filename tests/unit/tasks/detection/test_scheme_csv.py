"""`csv:` of detection: boxes, images without boxes, splits, and every error of a row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.pictures import picture, write_picture
from zoo.data.dataset import Dataset, OnError
from zoo.data.formats import open_data
from zoo.errors import DataError, InputError
from zoo.tasks.detection.datasets import SCHEMES

HEADER = "path,xmin,ymin,xmax,ymax,label"
TABLE = f"{HEADER}\nb.png,1,2,11,7.5,dog\na.png,0,0,20,10,cat\nb.png,3,3,4,4,cat\nc.png,,,,,\n"


def opened(data: object, on_error: OnError = "raise", say: Any = None) -> Dataset:
    return open_data(data, SCHEMES, "detection", on_error, say)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.png", "b.png", "c.png"):
        write_picture(tmp_path / name, picture((9, 9, 9), 0, (10, 20)))
    return tmp_path


def write(folder: Path, text: str, name: str = "boxes.csv") -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def test_boxes_are_gathered_by_picture(folder: Path) -> None:
    dataset = opened(f"csv:{write(folder, TABLE)}")
    assert dataset.keys == ("b.png", "a.png", "c.png")
    assert dataset.classes == ("cat", "dog")
    target = dataset.records[0].target
    np.testing.assert_array_equal(target["boxes"], np.array([[1, 2, 11, 7.5], [3, 3, 4, 4]], np.float32))
    assert target["boxes"].dtype == np.float32
    assert target["labels"].tolist() == [1, 0]
    assert target["area"].tolist() == [55, 1]
    assert target["iscrowd"].tolist() == [False, False]
    assert dataset.records[2].target["boxes"].shape == (0, 4)


def test_classes_limit_and_split(folder: Path) -> None:
    path = write(folder, TABLE)
    dogs = opened(f"csv:{path}?classes=dog")
    assert dogs.keys == ("b.png", "a.png", "c.png")
    assert [record.target["labels"].tolist() for record in dogs.records] == [[0], [], []]
    assert opened(f"csv:{path}?limit=1").keys == ("b.png",)
    path = write(folder, f"{HEADER},split\na.png,0,0,5,5,cat,train\nb.png,0,0,5,5,dog,test\nc.png,,,,,,test\n")
    test = opened(f"csv:{path}?split=test")
    assert test.keys == ("b.png", "c.png")
    assert test.classes == ("cat", "dog")
    with pytest.raises(InputError, match="has the splits train, test"):
        opened(f"csv:{path}")
    path.write_text(f"{HEADER},split\na.png,0,0,5,5,cat,train\na.png,0,0,5,5,dog,test\n")
    with pytest.raises(DataError, match=r"line 3: 'a\.png' is in another split at .*line 2"):
        opened(f"csv:{path}?split=train")


def test_tsv_root_and_a_bare_path(folder: Path) -> None:
    (folder / "deep").mkdir()
    assert len(opened(f"csv:{write(folder / 'deep', TABLE.replace(',', chr(9)), 'b.tsv')}?root={folder}")) == 3
    said: list[str] = []
    opened(write(folder, TABLE), say=said.append)
    assert "recognised as csv, because it is a table with the columns path, xmin, ymin, xmax, ymax, label" in said[0]
    with pytest.raises(InputError, match="no data format"):
        opened(write(folder, "path,label\na.png,cat\n"))


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ("a.png,5,1,5,4,cat", r"line 2: the box \[5, 1, 5, 4\] \(xyxy\) has no area"),
        ("a.png,5,1,3,4,cat", r"line 2: the box \[5, 1, 3, 4\] \(xyxy\) has no area"),
        ("a.png,5,1,40,4,cat", r"line 2: the box .* lies outside the image of 20×10 pixels"),
        ("a.png,x,1,4,4,cat", r"line 2: xmin, ymin, xmax, ymax are 'x', '1', '4', '4'; expected four numbers"),
        ("a.png,,1,4,4,cat", r"line 2: xmin, ymin, xmax, ymax are '', "),
        ("a.png,,,,,cat", r"line 2: xmin, ymin, xmax, ymax are '', "),
        ("a.png,nan,1,4,4,cat", r"line 2: the box .* is not four finite numbers"),
        ("a.png,1,1,4,1e999,cat", r"line 2: the box .* is not four finite numbers"),
        ("a.png,1,1,4,4,", r"line 2: the label is empty"),
        ("d.png,1,1,4,4,cat", r"line 2: 'd\.png' can't be found"),
        ("../d.png,1,1,4,4,cat", r"line 2: '\.\./d\.png' is outside the dataset folder"),
        ("boxes.csv,1,1,4,4,cat", r"line 2: boxes\.csv is "),
        ("a.png,1,1,4,4", r"line 2: has 5 values; expected 6"),
    ],
)
def test_faults_name_their_line(folder: Path, row: str, fault: str) -> None:
    path = write(folder, f"{HEADER}\n{row}\nb.png,1,1,4,4,dog\n")
    with pytest.raises(DataError, match=fault):
        opened(f"csv:{path}")
    rest = opened(f"csv:{path}", "skip")
    assert len(rest.skipped) == 1
    assert rest.records[-1].key == "b.png"


def test_a_missing_column(folder: Path) -> None:
    with pytest.raises(DataError, match=r"no column ymax; expected a header with path, xmin, ymin, xmax, ymax, label, split"):
        opened(f"csv:{write(folder, 'path,xmin,ymin,xmax,label')}")
