"""`yolo:`: lines that aren't plain boxes (outlines, oriented boxes, poses, confidences, DOTA), and fractions beyond 1."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.pictures import picture, write_picture
from zoo.curation.check.examination import examine
from zoo.curation.check.fix import write_cleaned
from zoo.data.formats import open_data
from zoo.data.splits import recognise_folders
from zoo.errors import DataError
from zoo.tasks.detection.data.yolo.lines import find_keypoints
from zoo.tasks.detection.datasets import SCHEMES

BOX = "0 0.25 0.25 0.3 0.2"  # in an image of 200×100 pixels: [20, 15, 80, 35]
POSE = "1 0.25 0.25 0.3 0.2 0.2 0.2 2 0.3 0.2 1 0.25 0.3 0"


def dataset(root: Path, lines: str, yaml: str = "", folder: str = "labels") -> str:
    for name in "ab":
        write_picture(root / "images" / f"{name}.png", picture((9, 9, 9), ord(name), (100, 200)))
        (root / folder).mkdir(exist_ok=True)
        (root / folder / f"{name}.txt").write_text(lines)
    (root / "data.yaml").write_text(f"train: images\nnames: [cat, dog]\n{yaml}")
    return f"yolo:{root}"


@pytest.mark.parametrize(
    ("lines", "yaml", "boxes", "labels", "note"),
    [
        (f"{BOX}\n1 .1 .1 .4 .12 .38 .4 .12 .38", "", [[20, 15, 80, 35], [20, 10, 80, 40]], [0, 1], "2 lines with an outline"),
        ("1 .1 .1 .4 .12 .38 .4", "", [[20, 10, 80, 40]], [1], "2 lines with an outline or an oriented box, read as the box that encloses"),
        ("0 .1 .1 .4 .12 .38 .4 .08 .38 .7", "", [[16, 10, 80, 40]], [0], "2 lines with a confidence, which is ignored"),
        (f"{BOX} 0.91", "", [[20, 15, 80, 35]], [0], "2 lines with a confidence, which is ignored, such as labels/a.txt line 1"),
        (f"{BOX}\n{POSE}", "kpt_shape: [3, 3]", [[20, 15, 80, 35]] * 2, [0, 1], "2 lines with a pose, of which only the box is read"),
        (f"{POSE} .9", "kpt_shape: [3, 3]", [[20, 15, 80, 35]], [1], "2 lines with a confidence, which is ignored"),
        ("1 .25 .25 .3 .2 .2 .2 .3 .2", "kpt_shape: [2, 2]", [[20, 15, 80, 35]], [1], "2 lines with a pose"),
        (f"{BOX}\n{POSE}", "", [[20, 15, 80, 35]] * 2, [0, 1], "all lines are poses of 3 keypoints with visibility, as kpt_shape would"),
    ],
)  # fmt: skip
def test_lines_of_other_tasks_are_read_as_boxes(
    tmp_path: Path, lines: str, yaml: str, boxes: list[list[float]], labels: list[int], note: str
) -> None:
    opened = open_data(dataset(tmp_path, lines, yaml), SCHEMES, "detection")
    for record in opened.records:
        np.testing.assert_allclose(record.target["boxes"], boxes, atol=1e-4)
        assert record.target["labels"].tolist() == labels
    assert len([text for text in opened.notes if text.startswith(note)]) == 1


def test_a_pose_of_another_shape_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"labels/a\.txt line 1: has 14 values; expected 20 for a pose, or class cx cy w h"):
        open_data(dataset(tmp_path, POSE, "kpt_shape: [5, 3]"), SCHEMES, "detection")


@pytest.mark.parametrize(
    ("lines", "keypoints"),
    [
        ([POSE, BOX], (3, 3)),
        (["0 .1 .1 .2 .1 .3 .3 1.000000"], (1, 3)),
        ([POSE, "0 .1 .1 .4 .12 .38 .4"], None),  # another length
        (["0 0 0 .2 0 .2 .2 .2 .2 0 .3"], None),  # an outline in a corner
        ([BOX, f"{BOX} 1"], None),
        ([], None),
    ],
)
def test_poses_without_kpt_shape(lines: list[str], keypoints: tuple[int, int] | None) -> None:
    assert find_keypoints(map(str.split, lines)) == keypoints


def test_fractions_beyond_1_are_cut_as_corners_are(tmp_path: Path) -> None:
    lines = "0 .5 .5 1.000001 1.004\n1 .9 .5 .204 .5\n1 -.001 .5 .2 .2\n0 .5 .1 1.004 .12 .38 .4\n"
    data = dataset(tmp_path, lines)
    with pytest.raises(DataError, match=r"2 errors .*\n.*labels/a\.txt line 3: cx cy w h are -\.001 \.5 \.2 \.2; expected fractions"):
        open_data(data, SCHEMES, "detection")
    boxes = open_data(data, SCHEMES, "detection", "skip").records[0].target["boxes"]
    np.testing.assert_allclose(boxes, np.array([[0, 0, 200, 100], [159.6, 25, 200, 75], [76, 10, 200, 40]]), atol=1e-4)


@pytest.mark.parametrize("folder", ["labels", "labelTxt", "labelTxt-v1.5"])
def test_boxes_in_the_format_of_dota(tmp_path: Path, folder: str) -> None:
    lines = "imagesource:GoogleEarth\ngsd:0.14\n10.0 20 50 20 50 40 8 40 dog 0\n10 20 50 20 50 40 10 40 cat 1\n"
    data = dataset(tmp_path, lines, folder=folder)
    opened = open_data(data, SCHEMES, "detection")
    target = opened.records[1].target
    assert target["boxes"].tolist() == [[8, 20, 50, 40], [10, 20, 50, 40]]
    assert target["labels"].tolist() == [1, 0]
    assert target["difficult"].tolist() == [False, True]
    assert f"4 lines with an oriented box in DOTA's format, read as the box that encloses it, such as {folder}/a.txt line 3" in opened.notes
    (tmp_path / "data.yaml").unlink()
    assert recognise_folders(tmp_path) is None
    bare = open_data(str(tmp_path), SCHEMES, "detection")
    assert (bare.classes, bare.records[0].target["labels"].tolist()) == (("cat", "dog"), [1, 0])


def test_classes_of_dota_may_contain_spaces_and_end_in_a_number(tmp_path: Path) -> None:
    corners = "10 20 50 20 50 40 10 40"
    lines = f"{corners} storage tank 0\n{corners} storage tank\n{corners} large land vehicle 1\n{corners} plane 2\n"
    data = dataset(tmp_path, lines)
    (tmp_path / "data.yaml").unlink()
    assert recognise_folders(tmp_path) is None
    opened = open_data(str(tmp_path), SCHEMES, "detection")
    assert opened.classes == ("large land vehicle", "plane", "storage tank")
    assert opened.records[0].target["labels"].tolist() == [2, 2, 0, 1]
    assert opened.records[0].target["difficult"].tolist() == [False, False, True, True]
    (tmp_path / "data.yaml").write_text("train: images\nnames: [large land vehicle, plane 2, storage tank]\n")
    named = open_data(data, SCHEMES, "detection")
    assert named.records[0].target["labels"].tolist() == [2, 2, 0, 1]
    assert named.records[0].target["difficult"].tolist() == [False, False, True, False]


@pytest.mark.parametrize("line", ["1 .1 .1 .4 .12 .38 .4 .12 x .38 .4", "1 .1 .1 .4 .12 .38 .4 x .12 .38 .4 a"])
def test_an_outline_with_a_word_isnt_dotas(tmp_path: Path, line: str) -> None:
    with pytest.raises(DataError, match=r"line 1: is '1 \.1 .*; expected numbers, class cx cy w h or class x1 y1"):
        open_data(dataset(tmp_path, line), SCHEMES, "detection")


def test_the_check_lists_what_was_converted_and_keeps_it(tmp_path: Path) -> None:
    outline, sure = "1 .1 .1 .4 .12 .38 .4 .12 .38", "0 .5 .5 .3 .2 .9"
    data = dataset(tmp_path / "data", f"{BOX}\n{outline}\n{outline}\n0 .1 .1 .2 .1 .2 20\n{sure}\n{BOX} 45\n")
    examination = examine(data, "detection", workers=0)
    notes = [finding.text for finding in examination.findings.of("assumed")]
    assert notes == [
        "2 lines with a confidence, which is ignored, such as labels/a.txt line 5",
        "4 lines with an outline or an oriented box, read as the box that encloses it, such as labels/a.txt line 2",
    ]
    changes = write_cleaned(examination, tmp_path / "out")
    assert [(change.action, change.place) for change in changes if change.file == "labels/a.txt"] == [
        ("removed", "line 3"), ("removed", "line 4"), ("removed", "line 6"),
    ]  # fmt: skip
    assert (tmp_path / "out/labels/a.txt").read_text() == f"{BOX}\n{outline}\n{sure}\n"
