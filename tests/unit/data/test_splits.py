"""Splits and classes as folders: recognised names, mixtures, strangers beside them, and annotation files beside images."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import zoo
from tests.pictures import picture, write_picture
from zoo.cli.data.check import task_of
from zoo.curation.check.items import open_all
from zoo.data.formats import DataRef
from zoo.data.splits import match_split, split_kind
from zoo.errors import DataError, InputError
from zoo.task.contract import get_task

TASKS = {"folder": "classification", "identities": "face"}


def write_classes(root: Path, *names: str, count: int = 2) -> Path:
    for number, name in enumerate(names or ("cat", "dog")):
        for index in range(count):
            write_picture(root / name / f"{index}.png", picture((number * 60, 0, 0), index, (8, 8)))
    return root


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *(
            (name, "train")
            for name in (
                "train",
                "Train",
                "TRAINING",
                "training_set",
                "train-data",
                "Training Set",
                "train2017",
                "seg_train",
                "images-train",
            )
        ),
        *((name, "val") for name in ("val", "valid", "Validation", "validation_set", "dev", "eval", "val2017", "minival")),
        *((name, "test") for name in ("test", "Test", "testing", "test_set", "test_images")),
        *((name, None) for name in ("cat", "trains", "bullet_train", "contest", "value", "device", "train_dog", "protest")),
    ],
)
def test_names_of_splits(name: str, kind: str | None) -> None:
    assert split_kind(name) == kind


@pytest.mark.parametrize(
    ("wanted", "names", "found"),
    [
        ("val", ["train", "valid"], "valid"),
        ("val", ["val", "valid"], "val"),
        ("val", ["valid", "dev"], None),
        ("test", ["training_set", "test_set"], "test_set"),
        ("train", ["Train", "Test"], "Train"),
        ("cafe\u0301", ["caf\u00e9"], "caf\u00e9"),
        ("cat", ["dog"], None),
    ],
)
def test_a_split_is_found_under_another_name(wanted: str, names: list[str], found: str | None) -> None:
    assert match_split(wanted, names) == found


@pytest.mark.parametrize("scheme", TASKS)
@pytest.mark.parametrize(("train", "test"), [("training_set", "test_set"), ("Train", "Test"), ("train", "testing")])
def test_splits_are_chosen_by_their_kind(tmp_path: Path, scheme: str, train: str, test: str) -> None:
    write_classes(tmp_path / train)
    write_classes(tmp_path / test, count=1)
    write_picture(tmp_path / "__MACOSX" / "train" / "cat" / "0.png", picture((0, 0, 0), 0, (8, 8)))
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "readme.txt").write_text("nothing")
    with pytest.raises(InputError, match=rf"has the splits {min(train, test)}, {max(train, test)}; choose one with \?split="):
        zoo.open_data(f"{scheme}:{tmp_path}", TASKS[scheme])
    dataset = zoo.open_data(f"{scheme}:{tmp_path}?split=test", TASKS[scheme])
    assert dataset.keys == (f"{test}/cat/0.png", f"{test}/dog/0.png")
    assert dataset.classes == ("cat", "dog")
    opened = open_all(f"{scheme}:{tmp_path}", get_task(TASKS[scheme]))
    assert {item.key: item.splits for item in opened.items}[f"{train}/cat/1.png"] == (train,)


@pytest.mark.parametrize("scheme", TASKS)
def test_a_mixture_of_splits_and_classes_is_an_error_that_lists_both(tmp_path: Path, scheme: str) -> None:
    write_classes(tmp_path)
    write_picture(tmp_path / "test" / "0.png", picture((9, 9, 9), 0, (8, 8)))
    message = (
        r"mixes splits \(test\) and other folders with images \(cat, dog\)\. Choose a split with \?split=test, or classes with \?classes="
    )
    with pytest.raises(InputError, match=message):
        zoo.open_data(f"{scheme}:{tmp_path}", TASKS[scheme], on_error="skip")
    with pytest.raises(InputError, match=message):
        open_all(f"{scheme}:{tmp_path}", get_task(TASKS[scheme]))
    dataset = zoo.open_data(f"{scheme}:{tmp_path}?classes=cat,dog", TASKS[scheme])
    assert dataset.keys == ("cat/0.png", "cat/1.png", "dog/0.png", "dog/1.png")


def test_a_mixture_of_splits_and_other_folders_of_yolo(tmp_path: Path) -> None:
    write_classes(tmp_path / "images", "train", "extra", count=1)
    (tmp_path / "labels" / "train").mkdir(parents=True)
    (tmp_path / "labels" / "train" / "0.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    with pytest.raises(
        InputError, match=r"mixes splits \(train\) and other folders with images \(extra\)\. Choose a split with \?split=train$"
    ):
        zoo.open_data(f"yolo:{tmp_path}", "detection")
    assert zoo.open_data(f"yolo:{tmp_path}?split=train", "detection").keys == ("images/train/0.png",)


def test_a_class_may_have_the_name_of_a_split_if_it_is_chosen(tmp_path: Path) -> None:
    write_classes(tmp_path, "bus", "train")
    dataset = zoo.open_data(f"folder:{tmp_path}?classes=train,bus", "classification")
    assert [(record.key, dataset.classes[record.target]) for record in dataset.records][-1] == ("train/1.png", "train")


def test_a_split_whose_link_leads_nowhere_is_named(tmp_path: Path) -> None:
    write_classes(tmp_path / "train")
    (tmp_path / "val").symlink_to("/mnt/old/val")
    with pytest.raises(DataError, match=r"val: is a link to /mnt/old/val, which can't be followed"):
        zoo.open_data(f"folder:{tmp_path}?split=val", "classification")
    assert len(zoo.open_data(f"folder:{tmp_path}?split=train", "classification")) == 4


def test_images_beside_the_class_folders_are_counted(tmp_path: Path) -> None:
    write_classes(tmp_path)
    write_picture(tmp_path / "cover.png", picture((9, 9, 9), 0, (8, 8)))
    said: list[str] = []
    assert len(zoo.open_data(f"folder:{tmp_path}", "classification", say=said.append)) == 4
    assert said == [f"data folder:{tmp_path}: images outside the class folders, ignored: 1, cover.png"]


XML = (
    "<annotation><filename>{}</filename><size><width>8</width><height>8</height></size><object><name>cat</name>"
    "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>4</xmax><ymax>5</ymax></bndbox></object></annotation>"
)
INSTANCES = {
    "images": [{"id": 1, "file_name": "0.png", "width": 8, "height": 8}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 3, 4]}],
    "categories": [{"id": 1, "name": "cat"}],
}


@pytest.mark.parametrize(
    ("image", "annotation", "content"),
    [
        ("images/0.png", "annotations/0.xml", XML.format("0.png")),
        ("images/a/0.png", "Annotations/a/0.xml", XML.format("0.png")),
        ("cat/0.png", "cat/0.xml", XML.format("0.png")),
        ("train/0.png", "train/0.xml", XML.format("0.png")),
        ("images/0.png", "annotations/instances.json", json.dumps(INSTANCES)),
        ("train/0.png", "train/_annotations.coco.json", json.dumps(INSTANCES)),
        ("images/0.png", "labels/0.txt", "0 0.5 0.5 0.2 0.2\n"),
        ("images/train/0.png", "labels/train/0.txt", "0 0.5 0.5 0.2 0.2\n"),
    ],
)
def test_annotation_files_win_over_class_folders(tmp_path: Path, image: str, annotation: str, content: str) -> None:
    write_picture(tmp_path / image, picture((9, 9, 9), 0, (8, 8)))
    (tmp_path / annotation).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / annotation).write_text(content)
    assert task_of(DataRef.parse(str(tmp_path))) == "detection"
    with pytest.raises(InputError, match="no data format of the task classification was recognised"):
        zoo.open_data(str(tmp_path), "classification")
    (item,) = open_all(str(tmp_path), get_task("detection")).items
    assert item.key.endswith("0.png")
    assert item.boxes is not None
    assert len(item.boxes) == 1


def test_texts_beside_images_of_classes_are_no_annotations(tmp_path: Path) -> None:
    write_classes(tmp_path)
    (tmp_path / "cat" / "0.txt").write_text("a photo of a cat\n")
    (tmp_path / "cat" / "1.json").write_text("{}")
    (tmp_path / "meta.xml").write_text("<meta/>")
    said: list[str] = []
    assert len(zoo.open_data(str(tmp_path), "classification", say=said.append)) == 4
    assert said == [f"data {tmp_path}: recognised as folder, because it contains 2 folders with images"]


def test_masks_beside_images_are_no_class(tmp_path: Path) -> None:
    for name in ("images", "Masks"):
        write_picture(tmp_path / "segmented" / name / "0.png", picture((90, 0, 0)))
        write_picture(tmp_path / "worn" / name.replace("images", "none") / "0.png", picture((90, 0, 0)))
    with pytest.raises(InputError, match="no data format of the task classification was recognised"):
        zoo.open_data(str(tmp_path / "segmented"), "classification")
    assert zoo.open_data(str(tmp_path / "worn"), "classification").classes == ("Masks", "none")


FOREIGN = {
    "labelme": ("images/0.json", '{"version": "5.0", "flags": {}, "shapes": [{"label": "cat"}], "imagePath": "0.png"}'),
    "VGG Image Annotator": ("via.json", '{"0.png1": {"filename": "0.png", "regions": [{"region_attributes": {}}]}}'),
    "Label Studio's own format": ("out.json", '[{"id": 1, "annotations": [{"result": [{"from_name": "label"}]}]}]'),
    "CreateML": ("_annotations.createml.json", '[{"image": "0.png", "annotations": [{"label": "a", "coordinates": {"x": 1}}]}]'),
    "Supervisely": ("ann/0.png.json", '{"objects": [{"classTitle": "cat"}]}'),
    "CVAT's own format": ("annotations.xml", '<?xml version="1.0"?><annotations><version>1.1</version><image name="0.png"/></annotations>'),
    "TensorFlow's records": ("train.tfrecord", "x"),
}


@pytest.mark.parametrize("tool", FOREIGN)
@pytest.mark.parametrize("task", ["classification", "detection"])
def test_formats_of_tools_that_are_not_read_are_named(tmp_path: Path, task: str, tool: str) -> None:
    file, content = FOREIGN[tool]
    write_picture(tmp_path / "images" / "0.png", picture((90, 0, 0)))
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text(content)
    named = rf"are those of {tool} \({file}\): export them as COCO, VOC or YOLO. Specify"
    with pytest.raises(InputError, match=named):
        zoo.open_data(str(tmp_path), task)
    with pytest.raises(InputError, match=rf"are those of {tool} \(it\): export"):
        zoo.open_data(str(tmp_path / file), task)
    if tool.startswith("CVAT"):
        with pytest.raises(DataError, match="It is CVAT's own format: export it as PASCAL VOC"):
            zoo.open_data(f"voc:{tmp_path}", "detection")
