"""Conversion between all formats and back keeps images, boxes, labels, flags, splits and the order of classes."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.pictures import picture
from zoo.cli.main import main
from zoo.curation.check.items import open_all
from zoo.curation.convert import convert, gather
from zoo.data.dataset import Dataset
from zoo.data.formats import open_data
from zoo.errors import DataError, InputError
from zoo.registry import natural_key
from zoo.task.contract import get_task
from zoo.tasks.detection.data.yolo.lines import corners, fractions

DETECTION, CLASSIFICATION = get_task("detection"), get_task("classification")
BOXES = ("coco", "voc", "yolo", "csv")
CLASSES = ("folder", "csv", "hf")


def draw(path: Path, seed: int, size_hw: tuple[int, int] = (60, 80)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), picture((40, 90, 200), seed, size_hw))


def write_coco(root: Path, plain: bool = False) -> str:
    """Write two splits with gaps in the ids, unsorted categories, a crowd, the area of a mask, and an image without boxes."""
    categories = [{"id": 3, "name": "wolf"}, {"id": 7, "name": "ant"}, {"id": 90, "name": "großer Bär"}]
    for number, split in enumerate(("train", "val")):
        names = [f"{split} one.png", f"deep/{split}2.png", f"{split}3.png"]
        for index, name in enumerate(names):
            draw(root / "images" / name, 10 * number + index)
        images = [{"id": 100 * index, "file_name": name, "height": 60, "width": 80} for index, name in enumerate(names)]
        annotations = [
            {"id": 0, "image_id": 0, "category_id": 90, "bbox": [1.25, 2, 10.1, 20.333]},
            {"id": 9, "image_id": 100, "category_id": 3, "bbox": [0, 0, 80, 60]},
            {"id": 11, "image_id": 100, "category_id": 7, "bbox": [5, 5, 7, 9]},
        ]
        if not plain:
            annotations[0] |= {"area": 77.7}
            annotations[1] |= {"iscrowd": 1}
            annotations[2] |= {"difficult": 1}
        file = root / "annotations" / f"instances_{split}.json"
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return f"coco:{root}"


def boxes_of(data: str) -> dict[str, Any]:
    """Return the content that a conversion must keep, by image name: bytes, exact boxes, class names, flags, splits."""
    content = gather(open_all(data, DETECTION), DETECTION)
    about: dict[str, Any] = {"classes": content.classes, "splits": content.splits}
    return about | {
        item.name: (
            item.record.source.read_bytes(),  # type: ignore[union-attr]
            item.splits,
            *(np.asarray(item.record.target[name]).tolist() for name in ("boxes", "labels", "iscrowd", "difficult")),
            [round(float(area), 2) for area in item.record.target["area"]],
        )
        for item in content.pictures
    }


@pytest.mark.parametrize(("first", "second"), list(itertools.permutations(BOXES, 2)))
def test_boxes_go_there_and_back(first: str, second: str, tmp_path: Path) -> None:
    plain = "yolo" in (first, second)
    source = write_coco(tmp_path / "source", plain)
    if first != "coco":
        source = opens(convert(source, f"{first}:{tmp_path / 'first'}", DETECTION).data)
    there = opens(convert(source, f"{second}:{tmp_path / 'there'}", DETECTION).data)
    back = opens(convert(there, f"{first}:{tmp_path / 'back'}", DETECTION).data)
    expected = boxes_of(source)
    assert len(expected) == 8
    assert expected["classes"] == ("wolf", "ant", "großer Bär")
    assert boxes_of(there) == expected
    assert boxes_of(back) == expected


def opens(data: tuple[str, ...]) -> str:
    assert len({text.partition("?")[0] for text in data}) == 1
    return data[0].partition("?")[0]


@pytest.mark.parametrize("scheme", BOXES)
def test_data_without_splits_stays_so(scheme: str, tmp_path: Path) -> None:
    write_coco(tmp_path / "source", plain=True)
    done = convert(f"coco:{tmp_path / 'source'}?split=val", f"{scheme}:{tmp_path / 'out'}", DETECTION)
    # a single requested split is still a split
    assert done.data == (f"{opens(done.data)}?split=val",)
    alone = convert(f"{done.data[0]}&limit=1", f"csv:{tmp_path / 'alone'}", DETECTION)
    assert (done.pictures, alone.pictures) == (3, 1)


def test_what_a_format_cannot_hold_is_named_and_not_lost(tmp_path: Path) -> None:
    source = write_coco(tmp_path / "source")
    with pytest.raises(
        InputError,
        match=r"yolo can't represent .*\n.*2 boxes are crowds: .*\n.*2 boxes are difficult: .*\n.*2 images have boxes with the area",
    ):
        convert(source, f"yolo:{tmp_path / 'out'}", DETECTION)
    assert not (tmp_path / "out").exists()
    done = convert(source, f"yolo:{tmp_path / 'out'}", DETECTION, lossy=True)
    assert len(done.losses) == 3


def test_pycocotools_reads_what_is_written(tmp_path: Path) -> None:
    from pycocotools.coco import COCO

    convert(write_coco(tmp_path / "source"), f"coco:{tmp_path / 'out'}", DETECTION)
    coco = COCO(str(tmp_path / "out" / "annotations" / "instances_train.json"))
    assert [image["file_name"] for image in coco.loadImgs(coco.getImgIds())] == ["train one.png", "deep/train2.png", "train3.png"]
    assert [category["name"] for category in coco.loadCats(coco.getCatIds())] == ["wolf", "ant", "großer Bär"]
    assert coco.loadAnns([1])[0]["area"] == pytest.approx(77.7)
    assert coco.loadAnns(coco.getAnnIds(imgIds=[2], iscrowd=True))[0]["bbox"] == [0, 0, 80, 60]


coordinate = st.floats(1 / 1024, 10_000, width=32)


@given(coordinate, coordinate, coordinate, coordinate, st.integers(0, 5_000), st.integers(0, 5_000))
def test_fractions_give_the_same_corners_bit_by_bit(left: float, top: float, width: float, height: float, wide: int, high: int) -> None:
    box = np.array([left, top, left + width, top + height], np.float32)
    size_hw = (int(np.ceil(box[3])) + high, int(np.ceil(box[2])) + wide)
    again = np.array(corners(tuple(float(repr(value)) for value in fractions(box, size_hw)), size_hw), np.float32)  # type: ignore[arg-type]
    assert again.tobytes() == box.tobytes()


# -- classes -----------------------------------------------------------------------------------------------------------


def write_folder(root: Path, order: bool = False) -> str:
    for number, (split, name) in enumerate(itertools.product(("train", "test"), ("zebra", "ape", "emu"))):
        for index in range(2):
            draw(root / split / name / f"{index} {number}.png", 10 * number + index, (12, 16))
    if order:
        (root / "classes.txt").write_text("zebra\nape\nyak\nemu\n")
    return f"folder:{root}"


def labels_of(data: str) -> object:
    opened = open_all(data, CLASSIFICATION)
    content = gather(opened, CLASSIFICATION)
    return (
        content.classes,
        content.splits,
        sorted((item.record.load().image.tobytes(), item.splits, item.record.target) for item in content.pictures),
    )


@pytest.mark.parametrize("order", [False, True])
@pytest.mark.parametrize(("first", "second"), list(itertools.permutations(CLASSES, 2)))
def test_classes_go_there_and_back(first: str, second: str, order: bool, tmp_path: Path) -> None:
    source = write_folder(tmp_path / "source", order)
    expected = labels_of(source)
    if first != "folder":
        source = opens(convert(source, f"{first}:{tmp_path / 'first'}", CLASSIFICATION).data)
    there = opens(convert(source, f"{second}:{tmp_path / 'there'}", CLASSIFICATION).data)
    back = opens(convert(there, f"{first}:{tmp_path / 'back'}", CLASSIFICATION).data)
    assert labels_of(source) == labels_of(there) == labels_of(back) == expected
    assert expected[0] == (("zebra", "ape", "yak", "emu") if order else ("ape", "emu", "zebra"))  # type: ignore[index]


def test_folders_come_back_with_the_same_paths_and_bytes(tmp_path: Path) -> None:
    source = tmp_path / "source"
    convert(write_folder(source), f"csv:{tmp_path / 'table'}", CLASSIFICATION)
    convert(f"csv:{tmp_path / 'table' / 'labels.csv'}", f"folder:{tmp_path / 'back'}", CLASSIFICATION)

    def files(root: Path) -> dict[str, bytes]:
        return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*.png")}

    assert files(tmp_path / "back") == files(source)


# -- the command -------------------------------------------------------------------------------------------------------


def test_pictures_are_links_or_copies(tmp_path: Path) -> None:
    source = write_coco(tmp_path / "source")
    linked = convert(source, f"voc:{tmp_path / 'linked'}", DETECTION)
    copied = convert(source, f"voc:{tmp_path / 'copied'}", DETECTION, pictures="copy")
    original = tmp_path / "source" / "images" / "val3.png"
    assert linked.linked == linked.pictures == 6
    assert copied.linked == 0
    assert (tmp_path / "linked" / "JPEGImages" / "val3.png").samefile(original)
    assert not (tmp_path / "copied" / "JPEGImages" / "val3.png").samefile(original)


def test_mistakes_are_named(tmp_path: Path) -> None:
    source = write_coco(tmp_path / "source")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("mine")
    for target, words in {
        "out": "expected scheme:folder, where scheme is one of: coco, csv, voc, yolo",
        f"coco:{tmp_path / 'full'}": "exists and is not empty",
        f"coca:{tmp_path / 'out'}": "Nearest: coco",
        f"coco:{tmp_path / 'out'}?split=a": r"options after \? are only allowed in the source",
    }.items():
        with pytest.raises(InputError, match=words):
            convert(source, target, DETECTION)
    with pytest.raises(InputError, match="output format of the task face: 'coco'"):
        convert(source, f"coco:{tmp_path / 'out'}", get_task("face"))
    assert (tmp_path / "full" / "letter.txt").read_text() == "mine"


def test_faults_stop_it_or_are_left_out_and_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_coco(tmp_path / "source")
    file = tmp_path / "source" / "annotations" / "instances_val.json"
    content = json.loads(file.read_text())
    content["annotations"][2]["bbox"] = [5, 5, 0, 9]
    file.write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"1 error in the annotations:\n  deep/val2.png.*has no area"):
        convert(source, f"voc:{tmp_path / 'out'}", DETECTION)
    assert main(["data", "convert", source, f"voc:{tmp_path / 'out'}", "--skip-bad", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert [fault["key"] for fault in result["skipped"]] == ["deep/val2.png"]
    assert result["data"] == [f"voc:{tmp_path / 'out'}?split=train", f"voc:{tmp_path / 'out'}?split=val"]
    opened = open_data(result["data"][1], DETECTION.data.schemes, "detection")
    assert isinstance(opened, Dataset)
    assert sum(len(record.target["boxes"]) for record in opened.records) == 2


@pytest.mark.parametrize("target", BOXES)
def test_equal_names_in_several_splits(tmp_path: Path, target: str) -> None:
    for seed, split in enumerate(("train", "val")):
        draw(tmp_path / "source" / "images" / split / "a.png", seed)
        (tmp_path / "source" / "labels" / split).mkdir(parents=True)
        (tmp_path / "source" / "labels" / split / "a.txt").write_text(f"0 0.5 0.5 0.{seed + 1} 0.5\n")
    done = convert(f"yolo:{tmp_path / 'source'}", f"{target}:{tmp_path / 'out'}", DETECTION)
    for seed, data in enumerate(done.data):
        (record,) = DETECTION.open(data).records
        np.testing.assert_allclose(record.target["boxes"], [[40 - 4 * (seed + 1), 15, 40 + 4 * (seed + 1), 45]], rtol=1e-5)
        assert record.path is not None
        assert record.path.read_bytes() == (tmp_path / "source/images" / ("train", "val")[seed] / "a.png").read_bytes()


def test_equal_names_in_several_splits_of_classes(tmp_path: Path) -> None:
    for seed, split in enumerate(("train", "val")):
        draw(tmp_path / "source" / split / "cat" / "a.png", seed)
    convert(f"folder:{tmp_path / 'source'}", f"folder:{tmp_path / 'out'}", CLASSIFICATION)
    for split in ("train", "val"):
        assert (tmp_path / "out" / split / "cat/a.png").read_bytes() == (tmp_path / "source" / split / "cat/a.png").read_bytes()


def test_names_that_would_clash_are_an_error(tmp_path: Path) -> None:
    for name in ("a.png", "A.png"):
        draw(tmp_path / "source" / "cat" / name, 1)
    with pytest.raises(DataError, match=r"cat/A\.png and cat/a\.png would have the same name cat/a\.png"):
        convert(f"folder:{tmp_path / 'source'}", f"csv:{tmp_path / 'out'}", CLASSIFICATION)


def test_real_sets_come_back(shared_data: Path, tmp_path: Path) -> None:
    cells = f"voc:{shared_data / 'bccd'}"
    done = convert(cells, f"coco:{tmp_path / 'coco'}", DETECTION, skip_bad=True)
    assert len(done.skipped) == 2
    there = opens(done.data)
    back = opens(convert(opens(convert(there, f"yolo:{tmp_path / 'yolo'}", DETECTION).data), f"voc:{tmp_path / 'voc'}", DETECTION).data)
    before, after = boxes_of(there), boxes_of(back)
    assert after == before
    assert before["splits"] == ("train", "val", "test") or sorted(before["splits"], key=natural_key) == ["test", "train", "val"]
    assert sum(len(value[2]) for value in before.values() if isinstance(value[1], tuple) and len(value) == 7) == 4886
