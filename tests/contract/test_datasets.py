"""Contract of every dataset format of every task: samples, keys, classes=, limit=, and opening twice."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.pictures import COLOURS, picture, write_class_folders, write_picture
from zoo.data.dataset import Dataset, OnError
from zoo.errors import InputError, UnknownNameError
from zoo.task.contract import TASKS, get_task

SIZE_HW = (24, 40)
BOXES = {"a": [(2, 3, 20, 21, "cat"), (5, 5, 39, 23, "dog")], "b": [], "c": [(0, 0, 40, 24, "eel")], "d": [(1, 1, 9, 9, "dog")]}
NAMES = ["cat", "dog", "eel"]


def write_pictures(folder: Path, names: list[str]) -> None:
    for index, name in enumerate(names):
        write_picture(folder / f"{name}.png", picture((index, 90, 200), index, SIZE_HW))


def _folders(tmp: Path) -> str:
    return f"folder:{write_class_folders(tmp)}"


def _identities(tmp: Path) -> str:
    return f"identities:{write_class_folders(tmp)}"


def _class_table(tmp: Path) -> str:
    write_class_folders(tmp)
    rows = [f"{name}/{index}.png,{name}" for name in COLOURS for index in range(4)]
    (tmp / "table.csv").write_text("\n".join(["path,label", *rows]) + "\n")
    return f"csv:{tmp / 'table.csv'}"


def _hugging_face(tmp: Path) -> str:
    datasets = pytest.importorskip("datasets", reason="the extra [hf] is not installed")
    write_pictures(tmp, list(BOXES))
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=NAMES)})
    content = {"image": [str(tmp / f"{name}.png") for name in BOXES], "label": [0, 1, 2, 1]}
    datasets.Dataset.from_dict(content, features=features).save_to_disk(str(tmp / "saved"))
    return f"hf:{tmp / 'saved'}"


def _box_table(tmp: Path) -> str:
    write_pictures(tmp, list(BOXES))
    rows = [f"{name}.png,{a},{b},{c},{d},{label}" for name, boxes in BOXES.items() for a, b, c, d, label in boxes]
    (tmp / "table.csv").write_text("\n".join(["path,xmin,ymin,xmax,ymax,label", *rows, "b.png,,,,,"]) + "\n")
    return f"csv:{tmp / 'table.csv'}"


def _annotation(number: int, image: int, box: tuple[int, int, int, int, str]) -> dict[str, Any]:
    left, top, right, bottom, label = box
    width, height = right - left, bottom - top
    category = 7 * NAMES.index(label) + 1  # ids have gaps, as COCO's do
    return {"id": number, "image_id": image, "category_id": category, "bbox": [left, top, width, height], "area": width * height}


def _coco(tmp: Path) -> str:
    write_pictures(tmp / "images", list(BOXES))
    named = [(index, name) for index, name in enumerate(BOXES)]
    flat = [(index, box) for index, name in named for box in BOXES[name]]
    content = {
        "images": [{"id": index, "file_name": f"{name}.png", "height": SIZE_HW[0], "width": SIZE_HW[1]} for index, name in named],
        "categories": [{"id": 7 * number + 1, "name": name} for number, name in enumerate(NAMES)],
        "annotations": [_annotation(number, index, box) for number, (index, box) in enumerate(flat)],
    }
    (tmp / "instances.json").write_text(json.dumps(content))
    return f"coco:{tmp}"


def _voc(tmp: Path) -> str:
    write_pictures(tmp / "JPEGImages", list(BOXES))
    (tmp / "Annotations").mkdir()
    for name, boxes in BOXES.items():
        objects = "".join(
            f"<object><name>{label}</name><bndbox><xmin>{a}</xmin><ymin>{b}</ymin><xmax>{c}</xmax><ymax>{d}</ymax></bndbox></object>"
            for a, b, c, d, label in boxes
        )
        size = f"<size><width>{SIZE_HW[1]}</width><height>{SIZE_HW[0]}</height><depth>3</depth></size>"
        (tmp / "Annotations" / f"{name}.xml").write_text(f"<annotation><filename>{name}.png</filename>{size}{objects}</annotation>")
    return f"voc:{tmp}"


def _yolo(tmp: Path) -> str:
    write_pictures(tmp / "images" / "train", list(BOXES))
    (tmp / "labels" / "train").mkdir(parents=True)
    height, width = SIZE_HW
    for name, boxes in BOXES.items():
        lines = [
            f"{NAMES.index(label)} {(a + c) / 2 / width} {(b + d) / 2 / height} {(c - a) / width} {(d - b) / height}"
            for a, b, c, d, label in boxes
        ]
        (tmp / "labels" / "train" / f"{name}.txt").write_text("\n".join(lines))
    (tmp / "data.yaml").write_text(f"train: images/train\nnames: {json.dumps(NAMES)}\n")
    return f"yolo:{tmp}"


def _lfw(tmp: Path) -> str:
    for person in ("Ann", "Bob", "Cy"):
        for number in (1, 2):
            write_picture(tmp / person / f"{person}_{number:04d}.jpg", picture((90, 90, 90), number))
    lines = ["2\t1", "Ann\t1\t2", "Ann\t1\tBob\t1", "Bob\t1\t2", "Bob\t2\tCy\t1"]
    (tmp / "pairs.txt").write_text("\n".join(lines) + "\n")
    return f"lfw:{tmp}"


def _bin(tmp: Path) -> str:
    encoded = [cv2.imencode(".png", picture((90, 90, 90), index))[1].tobytes() for index in range(6)]
    (tmp / "small.bin").write_bytes(pickle.dumps((encoded, [True, False, True])))
    return f"bin:{tmp / 'small.bin'}"


FIXTURES: dict[tuple[str, str], Callable[[Path], str]] = {
    ("classification", "csv"): _class_table,
    ("classification", "demo"): lambda tmp: "demo:digits?split=test",
    ("classification", "folder"): _folders,
    ("classification", "hf"): _hugging_face,
    ("detection", "coco"): _coco,
    ("detection", "csv"): _box_table,
    ("detection", "demo"): lambda tmp: "demo:scenes?n=6&split=test",
    ("detection", "voc"): _voc,
    ("detection", "yolo"): _yolo,
    ("face", "bin"): _bin,
    ("face", "demo"): lambda tmp: "demo:faces?people=5&per_person=2",
    ("face", "identities"): _identities,
    ("face", "lfw"): _lfw,
}
CASES = [(task, scheme) for task in TASKS for scheme in get_task(task).data.schemes]


def text_of(task: str, scheme: str, tmp: Path) -> str:
    if (task, scheme) not in FIXTURES:
        pytest.fail(f"the format {scheme} of {task} has no fixture in {Path(__file__).name}: add a small one, so that the format is tested")
    return FIXTURES[task, scheme](tmp)


def opened(task: str, text: str, on_error: OnError = "raise") -> Dataset:
    return get_task(task).open(text, on_error)


def with_option(text: str, option: str) -> str:
    return f"{text}{'&' if '?' in text else '?'}{option}"


def labels_of(target: Any) -> list[int]:
    if target is None:
        return []
    return [int(label) for label in (target["labels"] if isinstance(target, dict) else [target])]


def faults_of(sample: Any, classes: tuple[str, ...]) -> list[str]:
    """Return what is wrong with a sample."""
    faults = []
    image, target = sample.image, sample.target
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        faults.append(f"image {image.dtype} {image.shape}")
    if not isinstance(sample.key, str) or not sample.key or sample.key.startswith("/"):
        faults.append(f"key {sample.key!r}")
    if any(not 0 <= label < len(classes) for label in labels_of(target)):
        faults.append(f"labels {labels_of(target)} of {len(classes)} classes")
    if target is None and classes:
        faults.append("no target though there are classes")
    if isinstance(target, dict):
        boxes = target["boxes"]
        if boxes.dtype != np.float32 or boxes.shape != (len(target["labels"]), 4):
            faults.append(f"boxes {boxes.dtype} {boxes.shape}")
        height, width = image.shape[:2]
        if len(boxes) and not ((boxes[:, :2] < boxes[:, 2:]).all() and boxes.min() >= 0 and (boxes[:, 2:] <= (width, height)).all()):
            faults.append(f"boxes {boxes.tolist()} in an image of {width}×{height}")
    return faults


@pytest.mark.parametrize(("task", "scheme"), CASES)
def test_every_sample_keeps_the_contract(task: str, scheme: str, tmp_path: Path) -> None:
    text = text_of(task, scheme, tmp_path)
    dataset = opened(task, text)
    assert len(dataset) > 1
    assert [fault for sample in dataset for fault in faults_of(sample, dataset.classes)] == []
    assert len(set(dataset.classes)) == len(dataset.classes)
    assert len(set(dataset.keys)) == len(dataset)
    assert dataset.name == text
    assert dataset.skipped == ()
    assert [sample.key for sample in dataset] == list(dataset.keys)


@pytest.mark.parametrize(("task", "scheme"), CASES)
def test_opening_twice_gives_the_same(task: str, scheme: str, tmp_path: Path) -> None:
    text = text_of(task, scheme, tmp_path)
    first, second = opened(task, text), opened(task, text, "skip")
    assert (first.keys, first.classes) == (second.keys, second.classes)
    assert all(np.array_equal(one.image, two.image) for one, two in zip(first, second, strict=True))
    assert all(labels_of(one.target) == labels_of(two.target) for one, two in zip(first, second, strict=True))


@pytest.mark.parametrize(("task", "scheme"), CASES)
def test_a_limit_takes_the_first(task: str, scheme: str, tmp_path: Path) -> None:
    text = text_of(task, scheme, tmp_path)
    whole, limited = opened(task, text), opened(task, with_option(text, "limit=2"))
    assert limited.keys == whole.keys[:2]
    assert limited.classes == whole.classes


@pytest.mark.parametrize(("task", "scheme"), CASES)
def test_exact_is_known_to_every_format(task: str, scheme: str, tmp_path: Path) -> None:
    text = text_of(task, scheme, tmp_path)
    assert [opened(task, with_option(text, f"exact={word}")).exact for word in ("true", "false")] == [True, False]
    assert not opened(task, text).exact
    with pytest.raises(InputError, match=r"exact is 'yes'; expected true .* or false"):
        opened(task, with_option(text, "exact=yes"))


@pytest.mark.parametrize(("task", "scheme"), CASES)
def test_classes_are_kept_in_the_order_asked_for(task: str, scheme: str, tmp_path: Path) -> None:
    text = text_of(task, scheme, tmp_path)
    whole = opened(task, text)
    with pytest.raises(UnknownNameError, match=r"unknown class of .*: 'no such class'"):
        opened(task, with_option(text, "classes=no such class"))
    if not whole.classes:
        return  # a format without identities
    kept = (whole.classes[2], whole.classes[0])
    part = opened(task, with_option(text, f"classes={kept[0]},{kept[1]}"))
    assert part.classes == kept
    names = {record.key: [whole.classes[label] for label in labels_of(record.target)] for record in whole.records}
    for record in part.records:
        assert [kept[label] for label in labels_of(record.target)] == [name for name in names[record.key] if name in kept]
    dropped = set(whole.keys) - set(part.keys)
    assert all(set(names[key]).isdisjoint(kept) for key in dropped)


@pytest.mark.parametrize(("task", "scheme"), CASES)
def test_an_option_that_is_not_the_schemes_is_refused(task: str, scheme: str, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match=f"unknown option of {scheme}: 'bogus'"):
        opened(task, with_option(text_of(task, scheme, tmp_path), "bogus=1"))


@pytest.mark.parametrize("scheme", [scheme for task, scheme in CASES if task == "detection" and scheme != "demo"])
def test_every_detection_format_reads_the_same_boxes(scheme: str, tmp_path: Path) -> None:
    """The same four images in every format; one has no objects and is a sample like the others."""
    dataset = opened("detection", text_of("detection", scheme, tmp_path))
    assert dataset.classes == tuple(NAMES)
    found = {Path(record.key).stem: record.target for record in dataset.records}
    for name, boxes in BOXES.items():
        np.testing.assert_allclose(found[name]["boxes"], np.array([box[:4] for box in boxes], np.float32).reshape(-1, 4), atol=1e-4)
        assert [NAMES[label] for label in labels_of(found[name])] == [box[4] for box in boxes]
