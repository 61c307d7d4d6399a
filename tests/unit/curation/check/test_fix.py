"""Cleaned copies of annotations: what is fixed, what is reported, and that a second check finds no problems."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from tests.damaged import Labelled, check, edit_coco, write, write_box_table, write_coco, write_folders, write_voc
from tests.pictures import cut_short
from tests.unit.curation.check.test_boxes import _yolo as write_yolo
from zoo.curation.check.examination import examine
from zoo.curation.check.fix import write_cleaned
from zoo.curation.check.fix_boxes import Change, mend_box
from zoo.errors import InputError

_DAMAGED: list[list[Labelled]] = [
    [("cat", (4, 5, 30, 40)), ("cat", (10, 10, 10, 30)), ("cat", (4, 5, 30, 40)), ("dog", (40, 10, 90, 40)), ("dog", (200, 200, 230, 230))],
    [("dog", (30, 40, 10, 10))],
    [("dog", (20, 8, 60, 44))],
]


def _fix(data: str, task: str, out: Path) -> list[Change]:
    changes = write_cleaned(examine(data, task, workers=0), out)
    with (out / "changes.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [tuple(row.values()) for row in rows] == [(c.action, c.file, c.place, c.text) for c in changes]
    return changes


def _done(changes: list[Change]) -> list[tuple[str, str, str]]:
    return [(change.action, change.file, change.place) for change in changes]


@pytest.mark.parametrize(("box", "mended", "words"), [
    ((1, 2, 3, 4), (1, 2, 3, 4), ""),
    ((3, 4, 1, 2), (1, 2, 3, 4), "corners reordered"),
    ((-1, 2, 3, 99), (0, 2, 3, 10), "clipped to the image"),
    ((3, 2, -1, 4), (0, 2, 3, 4), "corners reordered and clipped to the image"),
    ((1, 2, 1, 4), None, "no area"),
    ((21, 2, 25, 4), None, "entirely outside the image"),
])  # fmt: skip
def test_a_box_is_mended_where_there_is_one_way_to(
    box: tuple[float, float, float, float], mended: tuple[float, ...] | None, words: str
) -> None:
    assert mend_box(box, (10, 20)) == (mended, words)


def test_coco_is_clean_afterwards(tmp_path: Path) -> None:
    data = write_coco(tmp_path / "data", _DAMAGED)
    edit_coco(data, "annotations", 7, id=1, image_id=2, category_id=1, bbox=[1, 1, 9, 9])
    edit_coco(data, "annotations", 8, id=50, image_id=77, category_id=1, bbox=[1, 1, 9, 9])
    edit_coco(data, "annotations", 9, id=51, image_id=2, category_id=77, bbox=[1, 1, 9, 9])
    before = (data / "instances.json").read_bytes()
    changes = _fix(f"coco:{data}", "detection", tmp_path / "out")
    assert _done(changes) == [
        ("removed", "0.png", "annotation id 2"), ("removed", "0.png", "annotation id 3"), ("changed", "0.png", "annotation id 4"),
        ("removed", "0.png", "annotation id 5"), ("changed", "1.png", "annotation id 6"), ("changed", "2.png", "annotation id 1"),
        ("removed", "instances.json", "annotation id 50"), ("removed", "instances.json", "annotation id 51"),
    ]  # fmt: skip
    cleaned = json.loads((tmp_path / "out" / "instances.json").read_text())
    assert [(a["id"], a["bbox"]) for a in cleaned["annotations"]] == [
        (1, [4, 5, 26, 35]), (4, [40, 10, 24, 30]), (6, [10, 10, 20, 30]), (7, [20, 8, 40, 36]), (52, [1, 1, 9, 9]),
    ]  # fmt: skip
    assert (data / "instances.json").read_bytes() == before
    write(data / "instances.json", (tmp_path / "out" / "instances.json").read_text())
    assert check(f"coco:{data}", "detection").ok


def test_voc_is_clean_afterwards(tmp_path: Path) -> None:
    data = write_voc(tmp_path / "data", _DAMAGED, {"val": [0, 1], "test": [2]})
    cut_short(data / "JPEGImages" / "2.png")
    changes = _fix(f"voc:{data}", "detection", tmp_path / "out")
    assert _done(changes) == [
        ("removed", "Annotations/0.xml", "object 2"), ("removed", "Annotations/0.xml", "object 3"),
        ("changed", "Annotations/0.xml", "object 4"), ("removed", "Annotations/0.xml", "object 5"),
        ("changed", "Annotations/1.xml", "object 1"), ("removed", "Annotations/2.xml", ""),
        ("removed", "ImageSets/Main/test.txt", "line 1"),
    ]  # fmt: skip
    assert not list((tmp_path / "out").rglob("*.png"))
    (data / "Annotations" / "2.xml").unlink()
    (data / "JPEGImages" / "2.png").unlink()
    (data / "ImageSets" / "Main" / "test.txt").unlink()
    for name in ("0", "1"):
        write(data / "Annotations" / f"{name}.xml", (tmp_path / "out" / "Annotations" / f"{name}.xml").read_text())
    found = check(f"voc:{data}", "detection")
    assert found.ok, found.findings
    assert found.classes == {"cat": 1, "dog": 2}


def test_yolo_is_clean_afterwards(tmp_path: Path) -> None:
    write_yolo(tmp_path / "data", [[("cat", (4, 5, 30, 40))], [("dog", (30, 10, 50, 40))]])
    sound = (tmp_path / "data" / "labels" / "0.txt").read_text().strip()
    text = f"{sound}\n{sound}\n7 0.5 0.5 0.1 0.1\n1 0.9 0.5 0.4 0.5\n1 0.5 0.5 0 0.2\nx\n"
    write(tmp_path / "data" / "labels" / "0.txt", text)
    write(tmp_path / "data" / "labels" / "lost.txt", sound)
    changes = _fix(f"yolo:{tmp_path / 'data'}", "detection", tmp_path / "out")
    assert _done(changes) == [
        ("removed", "labels/0.txt", "line 2"), ("removed", "labels/0.txt", "line 3"), ("changed", "labels/0.txt", "line 4"),
        ("removed", "labels/0.txt", "line 5"), ("removed", "labels/0.txt", "line 6"), ("removed", "labels/lost.txt", ""),
    ]  # fmt: skip
    assert (tmp_path / "out" / "labels" / "0.txt").read_text() == f"{sound}\n1 0.85 0.5 0.3 0.5\n"


def test_tables_are_clean_afterwards(tmp_path: Path) -> None:
    data = write_box_table(tmp_path / "data", _DAMAGED)
    changes = _fix(f"csv:{data / 'boxes.csv'}", "detection", tmp_path / "out")
    assert _done(changes) == [
        ("removed", "boxes.csv", "line 3"), ("removed", "boxes.csv", "line 4"), ("changed", "boxes.csv", "line 5"),
        ("removed", "boxes.csv", "line 6"), ("changed", "boxes.csv", "line 7"),
    ]  # fmt: skip
    write(data / "boxes.csv", (tmp_path / "out" / "boxes.csv").read_text())
    found = check(f"csv:{data / 'boxes.csv'}", "detection")
    assert found.ok, found.findings
    assert found.classes == {"cat": 1, "dog": 3}


def test_a_table_of_labels_loses_its_faulty_rows(tmp_path: Path) -> None:
    data = write_folders(tmp_path / "data")
    write(data / "labels.csv", "path,label\ncat/0.png,cat\ncat/1.png,\ndog/0.png,dog\ndog/7.png,dog\ndog/1.png,dog\n")
    cut_short(data / "dog" / "1.png")
    changes = _fix(f"csv:{data / 'labels.csv'}", "classification", tmp_path / "out")
    assert [change for change in _done(changes) if change[0] != "kept"] == [
        ("removed", "labels.csv", "line 3"), ("removed", "labels.csv", "line 5"), ("removed", "labels.csv", "line 6"),
    ]  # fmt: skip
    assert (tmp_path / "out" / "labels.csv").read_text() == "path,label\ncat/0.png,cat\ndog/0.png,dog\n"


def test_folders_become_a_table_that_says_what_to_keep(tmp_path: Path) -> None:
    data = write_folders(tmp_path / "data", splits=("train", "test"))
    cut_short(data / "train" / "dog" / "2.png")
    (data / "test" / "cat" / "copy.png").write_bytes((data / "train" / "cat" / "0.png").read_bytes())
    changes = _fix(f"folder:{data}", "classification", tmp_path / "out")
    assert _done(changes) == [("removed", "train/dog/2.png", ""), ("kept", "test/cat/copy.png", "")]
    assert changes[1].text.startswith("leak: ")
    found = check(f"csv:{tmp_path / 'out' / 'labels.csv'}?root={data}")
    assert found.splits == {"test": 7, "train": 5}
    assert set(found.counts) == {"leak", "no-annotation"}, "only the finding that was kept, and the image that was removed"


def test_an_earlier_copy_is_replaced_and_nothing_else(tmp_path: Path) -> None:
    data = f"folder:{write_folders(tmp_path / 'data')}"
    assert _fix(data, "classification", tmp_path / "out") == []
    assert _fix(data, "classification", tmp_path / "out") == []
    write(tmp_path / "taken" / "thesis.txt", "mine")
    with pytest.raises(InputError, match=r"contains no changes\.csv; choose another path"):
        _fix(data, "classification", tmp_path / "taken")
    with pytest.raises(InputError, match="is the dataset folder, which is never overwritten"):
        _fix(data, "classification", tmp_path / "data")


@pytest.mark.parametrize("data", ["demo:digits?limit=3", "folder:{}?limit=3", "folder:{}?classes=cat"])
def test_only_whole_data_in_files_can_be_fixed(data: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--fix needs a whole dataset stored in files; pass its path without split=, classes= and limit="):
        _fix(data.format(write_folders(tmp_path / "data")), "classification", tmp_path / "out")
