"""Dataset check of boxes: every kind of damage in every format that has boxes."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.damaged import SIZE_HW, Labelled, check, edit_coco, scene, write, write_box_table, write_coco, write_voc
from tests.pictures import write_picture
from zoo.curation.check.findings import Finding, Findings, of_faults
from zoo.errors import Fault
from zoo.task.contract import get_task

_SOUND: list[list[Labelled]] = [[("cat", (4, 5, 30, 40))], [("dog", (10, 6, 50, 30)), ("cat", (2, 2, 9, 9))], [("dog", (20, 8, 60, 44))]]
Pictures = Sequence[Sequence[Labelled]]


def _coco(root: Path, pictures: Pictures) -> str:
    return f"coco:{write_coco(root, pictures)}"


def _voc(root: Path, pictures: Pictures) -> str:
    return f"voc:{write_voc(root, pictures)}"


def _csv(root: Path, pictures: Pictures) -> str:
    return f"csv:{write_box_table(root, pictures) / 'boxes.csv'}"


def _yolo(root: Path, pictures: Pictures) -> str:
    names = sorted({name for boxes in pictures for name, _ in boxes})
    height, width = SIZE_HW
    for number, boxes in enumerate(pictures):
        write_picture(root / "images" / f"{number}.png", scene(number))
        lines = [
            f"{names.index(name)} {(a + c) / 2 / width:.6f} {(b + d) / 2 / height:.6f} {(c - a) / width:.6f} {(d - b) / height:.6f}\n"
            for name, (a, b, c, d) in boxes
        ]
        write(root / "labels" / f"{number}.txt", "".join(lines))
    write(root / "classes.txt", "\n".join(names) + "\n")
    return f"yolo:{root}"


_FORMATS: dict[str, Callable[[Path, Pictures], str]] = {"coco": _coco, "voc": _voc, "csv": _csv, "yolo": _yolo}

_DAMAGE: dict[str, tuple[Labelled, str]] = {
    "no area": (("cat", (10, 10, 10, 30)), "box-no-area"),
    "a point": (("cat", (10, 10, 10, 10)), "box-no-area"),
    "swapped corners": (("cat", (30, 40, 10, 10)), "box-swapped"),
    "swapped left and right": (("cat", (30, 10, 10, 40)), "box-swapped"),
    "sticks out": (("cat", (40, 10, 90, 40)), "box-outside"),
    "wholly outside": (("cat", (140, 110, 190, 140)), "box-outside"),
    "negative": (("cat", (-9, 10, 30, 40)), "box-outside"),
    "given twice": (("cat", (4, 5, 30, 40)), "box-duplicate"),
    "given twice as another": (("dog", (4, 5, 30, 40)), "box-duplicate"),
    "whole picture": (("cat", (0, 0, 64, 48)), "box-whole-picture"),
    "normalised": (("cat", (0.1, 0.2, 0.6, 0.9)), "box-normalised"),
}
# YOLO stores sizes, so that corners can't be swapped, and fractions, so that normalised boxes are valid
_NOT_YOLO = ("swapped corners", "swapped left and right", "normalised")


def _check(data: str) -> Findings:
    return check(data, "detection")


@pytest.mark.parametrize("name", _FORMATS)
def test_sound_boxes_have_no_findings(name: str, tmp_path: Path) -> None:
    found = _check(_FORMATS[name](tmp_path, _SOUND))
    assert found.findings == ()
    assert found.classes == {"cat": 2, "dog": 2}


@pytest.mark.parametrize("damage", _DAMAGE)
@pytest.mark.parametrize("name", _FORMATS)
def test_each_damage_is_found_and_named(name: str, damage: str, tmp_path: Path) -> None:
    if name == "yolo" and damage in _NOT_YOLO:
        pytest.skip("a YOLO line can't express this damage")
    box, kind = _DAMAGE[damage]
    found = _check(_FORMATS[name](tmp_path, [[*_SOUND[0], box], *_SOUND[1:]]))
    (finding,) = found.findings
    assert finding.kind == kind, finding
    place = {"coco": ("0.png", "annotation id 2"), "voc": ("Annotations/0.xml", "object 2"), "csv": ("boxes.csv", "line 3")}
    place["yolo"] = ("labels/0.txt", "line 2")
    pictures = {"voc": "JPEGImages/0.png", "csv": "images/0.png", "yolo": "images/0.png", "coco": "0.png"}
    # findings about boxes that the reader accepts name the image and the box
    assert (finding.key, finding.place) in (place[name], (pictures[name], "box 2"))
    assert not found.ok


def test_a_box_is_held_against_the_real_picture_and_not_the_declared_size(tmp_path: Path) -> None:
    write_coco(tmp_path, _SOUND)
    edit_coco(tmp_path, "images", 2, width=200, height=200)
    edit_coco(tmp_path, "annotations", 3, bbox=[20, 8, 100, 80])
    (finding,) = _check(f"coco:{tmp_path}").findings
    assert (finding.kind, finding.key, finding.box) == ("wrong-size", "2.png", None)
    assert "for an image of 200×200 pixels, but the file has 64×48" in finding.text


def test_a_size_that_only_decoding_shows(tmp_path: Path) -> None:
    """Of large datasets not every header is read when they are opened."""
    write_coco(tmp_path, _SOUND)
    data = get_task("detection").open(f"coco:{tmp_path}")
    write_picture(tmp_path / "images" / "1.png", scene(1, (30, 40)))
    assert [(found.kind, found.key) for found in check(data, "detection").findings] == [("wrong-size", "1.png")]


def test_a_crowd_may_cover_the_picture(tmp_path: Path) -> None:
    write_coco(tmp_path, [[("cat", (0, 0, 64, 48)), ("cat", (4, 4, 20, 20))]])
    edit_coco(tmp_path, "annotations", 0, iscrowd=1)
    assert _check(f"coco:{tmp_path}").findings == ()


@pytest.mark.parametrize(("part", "index", "values", "kind", "place"), [
    ("annotations", 1, {"id": 1}, "repeated-id", "annotation id 1"),
    ("annotations", 1, {"category_id": 77}, "unknown-label", "annotation id 2"),
    ("annotations", 1, {"image_id": 77}, "no-picture", "annotation id 2"),
    ("annotations", 1, {"bbox": [1, 2, 3]}, "annotation", "annotation id 2"),
    ("annotations", 1, {"area": -3}, "annotation", "annotation id 2"),
    ("images", 2, {"id": 0}, "repeated-id", "image id 0"),
    ("images", 3, {"id": 9, "file_name": "9.png"}, "no-picture", ""),
    ("images", 3, {"id": 9, "file_name": "../9.png"}, "no-picture", ""),
])  # fmt: skip
def test_the_lists_of_coco(part: str, index: int, values: dict[str, Any], kind: str, place: str, tmp_path: Path) -> None:
    write_coco(tmp_path, _SOUND)
    edit_coco(tmp_path, part, index, **values)
    found = _check(f"coco:{tmp_path}")
    assert (kind, place) in [(f.kind, f.place) for f in found.findings], found.findings


def test_lines_of_yolo(tmp_path: Path) -> None:
    _yolo(tmp_path, _SOUND)
    write(tmp_path / "labels" / "0.txt", "9 0.5 0.5 0.2 0.2\n0 32 24 10 10\n0 1.2 0.5 0.2 0.2\n0 0.5 0.5 0.2\n")
    write(tmp_path / "labels" / "lost.txt", "0 0.5 0.5 0.2 0.2\n")
    (tmp_path / "labels" / "1.txt").unlink()
    found = _check(f"yolo:{tmp_path}")
    assert [(f.kind, f.place) for f in found.findings if f.key == "labels/0.txt"] == [
        ("unknown-label", "line 1"), ("box-outside", "line 3"), ("annotation", "line 4"), ("box-normalised", "line 2"),
    ]  # fmt: skip
    assert [f.key for f in found.of("no-picture")] == ["labels/lost.txt"]
    assert [f.key for f in found.of("no-objects")] == ["images/0.png", "images/1.png"]


def test_xml_without_its_picture_and_without_sense(tmp_path: Path) -> None:
    write_voc(tmp_path, _SOUND, {"train": [0, 1, 5]})
    (tmp_path / "JPEGImages" / "1.png").unlink()
    write(tmp_path / "Annotations" / "2.xml", "<annotation><object>")
    found = _check(f"voc:{tmp_path}")
    assert {(f.kind, f.key) for f in found.findings} >= {
        ("no-picture", "Annotations/1.xml"), ("annotation", "Annotations/2.xml"), ("no-annotation", "Annotations/5.xml"),
    }  # fmt: skip


def test_corners_written_where_sizes_are_meant(tmp_path: Path) -> None:
    write_coco(tmp_path, [*_SOUND, [("cat", (30, 20, 50, 40)), ("dog", (40, 5, 60, 30))]])
    content = json.loads((tmp_path / "instances.json").read_text())
    for entry in content["annotations"]:
        x, y, w, h = entry["bbox"]
        entry["bbox"] = [x, y, x + w, y + h]
    write(tmp_path / "instances.json", json.dumps(content))
    (finding,) = _check(f"coco:{tmp_path}").of("box-xywh")
    assert "boxes are invalid as x, y, width, height but fit their images as corners x1, y1, x2, y2" in finding.text


def test_sizes_written_where_corners_are_meant(tmp_path: Path) -> None:
    moved: list[list[Labelled]] = [[("cat", (40, 30, 20, 10))], [("dog", (30, 20, 25, 18))], [("cat", (4, 4, 40, 30))]]
    for name, write_data in (("voc", _voc), ("csv", _csv)):
        (finding,) = _check(write_data(tmp_path / name, moved)).of("box-xywh")
        assert finding.text.startswith("2 of 3 boxes are invalid as corners x1, y1, x2, y2 but fit their images as x, y, width, height")


def test_a_single_slip_is_no_confusion(tmp_path: Path) -> None:
    found = _check(_coco(tmp_path, [[*_SOUND[0], ("cat", (40, 10, 90, 40))], *_SOUND[1:]]))
    assert found.counts == {"box-outside": 1}


@pytest.mark.parametrize("kind", ["", "moonstruck"])
def test_a_fault_of_no_known_kind_is_reported_all_the_same(kind: str) -> None:
    fault = Fault("data/a.xml", "the moon is full", kind=kind)
    assert list(of_faults([fault], Path("data"))) == [Finding("annotation", "a.xml", "the moon is full")]


def test_a_row_is_named_by_its_table_and_its_line() -> None:
    fault = Fault("data/a line 2.csv line 2", "is odd", kind="unknown-label", place="line 2", box=(1, 2, 3, 4))
    expected = Finding("unknown-label", "a line 2.csv", "is odd", "line 2", box=(1, 2, 3, 4))
    assert list(of_faults([fault], Path("data"))) == [expected]
