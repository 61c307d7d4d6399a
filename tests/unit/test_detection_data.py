"""coco:, voc: and demo:scenes: what they read, and every fault they find."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.pictures import picture, write_picture
from zoo.data import Dataset, OnError
from zoo.errors import DataError, InputError, UnknownNameError
from zoo.schemes import open_data
from zoo.task import get_task


def opened(data: str, on_error: OnError = "raise") -> Dataset:
    task = get_task("detection")
    return open_data(data, task.schemes, task.name, on_error)


# -- coco ------------------------------------------------------------------------------------------------------------------


def instances() -> dict[str, Any]:
    """Two pictures of 40×30 pixels, categories 3 and 7, the second picture without annotations."""
    return {
        "images": [
            {"id": 0, "file_name": "a.png", "width": 40, "height": 30},
            {"id": 9, "file_name": "b.png", "width": 40, "height": 30},
        ],
        "categories": [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}],
        "annotations": [
            {"id": 0, "image_id": 0, "category_id": 7, "bbox": [1, 2, 10, 20], "area": 99.5, "iscrowd": 1},
            {"id": 5, "image_id": 0, "category_id": 3, "bbox": [0, 0, 40.5, 30]},
        ],
    }


def write_coco(root: Path, content: Any = None, file: str = "instances.json", pictures: str = "") -> Path:
    for name in ("a.png", "b.png"):
        write_picture(root / pictures / name, picture((90, 90, 90), size_hw=(30, 40)))
    (root / file).parent.mkdir(parents=True, exist_ok=True)
    (root / file).write_text(json.dumps(instances() if content is None else content))
    return root


def test_coco_is_read(tmp_path: Path) -> None:
    data = opened(f"coco:{write_coco(tmp_path)}")
    assert data.classes == ("cat", "dog")  # by id, gaps and all
    assert data.keys == ("a.png", "b.png")
    first, second = (record.target for record in data.records)
    assert first["boxes"].tolist() == [[1, 2, 11, 22], [0, 0, 40, 30]]  # half a pixel beyond is cut off
    assert first["labels"].tolist() == [1, 0]
    assert first["iscrowd"].tolist() == [True, False]
    assert first["area"].tolist() == [99.5, 40.5 * 30]
    assert first["ids"].tolist() == [0, 5]
    assert second["boxes"].shape == (0, 4)
    assert {name: array.dtype.name for name, array in second.items()} == {
        "boxes": "float32", "labels": "int64", "iscrowd": "bool", "difficult": "bool", "area": "float32",
        "ids": "int64", "annotated": "float64",
    }  # fmt: skip
    assert data[0].image.shape == (30, 40, 3)


def test_classes_can_be_chosen(tmp_path: Path) -> None:
    data = opened(f"coco:{write_coco(tmp_path)}?classes=dog")
    assert (len(data), data.classes) == (2, ("dog",))
    assert data.records[0].target["labels"].tolist() == [0]
    assert data.records[0].target["boxes"].tolist() == [[1, 2, 11, 22]]


@pytest.mark.parametrize(("file", "pictures", "query"), [
    ("annotations/instances_val2017.json", "val2017", "?split=val"),
    ("annotations/instances_val2017.json", "images/val2017", "?split=val2017"),
    ("annotations/instances_val2017.json", "val", "?split=val"),
    ("train/_annotations.coco.json", "train", "?split=train"),
    ("_annotations.coco.json", "", ""),
    ("labels.json", "images", ""),
    ("deep/er.json", "elsewhere", "?json=deep/er.json&images=elsewhere"),
])  # fmt: skip
def test_files_and_pictures_are_found(tmp_path: Path, file: str, pictures: str, query: str) -> None:
    write_coco(tmp_path, file=file, pictures=pictures)
    (tmp_path / "annotations").mkdir(exist_ok=True)
    (tmp_path / "annotations" / "captions_val2017.json").write_text("{}")
    data = opened(f"coco:{tmp_path}{query}")
    assert data.records[0].source == tmp_path / pictures / "a.png"


def test_a_bare_path_is_recognised(tmp_path: Path) -> None:
    assert len(opened(str(write_coco(tmp_path)))) == 2
    write_voc(tmp_path / "voc")
    assert len(opened(str(tmp_path / "voc"))) == 2


def test_several_files_need_a_word(tmp_path: Path) -> None:
    for split in ("train", "val"):
        write_coco(tmp_path, file=f"annotations/instances_{split}.json", pictures=split)
    with pytest.raises(InputError, match=r"several files .*instances_train.json, annotations/instances_val.json.*\?split="):
        opened(f"coco:{tmp_path}")
    with pytest.raises(InputError, match=r"no instances file for the split 'test' .* annotations/instances_train.json"):
        opened(f"coco:{tmp_path}?split=test")
    assert len(opened(f"coco:{tmp_path}?split=train")) == 2


@pytest.mark.parametrize(("query", "message"), [
    ("?json=none.json", r"json is 'none.json'; there is no such file"),
    ("?images=none", r"images is 'none'; there is no such folder"),
])  # fmt: skip
def test_options_that_name_nothing(tmp_path: Path, query: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        opened(f"coco:{write_coco(tmp_path)}{query}")


def test_a_folder_without_instances(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no instances file; expected annotations/instances_<split>.json"):
        opened(f"coco:{tmp_path}")


@pytest.mark.parametrize(("text", "message"), [
    ("{", r"instances.json can't be read as JSON"),
    ("[]", r"has no list 'images'"),
    ('{"images": [], "annotations": {}}', r"has no list 'annotations'"),
    ('{"images": [{"id": 1}]}', r"images\[0\] has no file_name"),
    ('{"images": [5]}', r"images\[0\] has no id and no file_name"),
    ('{"images": [{"id": [1], "file_name": "a"}]}', r"images\[0\]: id is \[1\]; expected a whole number"),
    ('{"images": [], "annotations": [], "categories": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]}', r"share the ids 1"),
    ('{"images": [], "annotations": [], "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "a"}]}', r"share the names a"),
])  # fmt: skip
def test_a_file_of_another_shape(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "instances.json").write_text(text)
    with pytest.raises(DataError, match=message):
        opened(f"coco:{tmp_path}")


def box(**changes: Any) -> dict[str, Any]:
    return {"id": 6, "image_id": 9, "category_id": 3, "bbox": [1, 1, 5, 5], **changes}


@pytest.mark.parametrize(("part", "entry", "message"), [
    ("annotations", box(image_id=1), r"instances.json: annotation id 6 is for image_id 1, which is not in images"),
    ("annotations", box(category_id=4), r"b.png: instances.json: annotation id 6: category_id is 4; there is no such category"),
    ("annotations", box(id=5), r"the id 5 is there twice"),
    ("annotations", box(bbox=[1, 1, 0, 5]), r"b.png: .*annotation id 6: the box \[1, 1, 1, 6\] \(xyxy\) has no area"),
    ("annotations", box(bbox=[1, 1, -2, 5]), r"has no area"),
    ("annotations", box(bbox=[1, 1, 5]), r"bbox is \[1, 1, 5\]; expected four finite numbers"),
    ("annotations", box(bbox=[1, 1, 5, float("nan")]), r"expected four finite numbers"),
    ("annotations", box(bbox=[1, 1, 5, 10**400]), r"expected four finite numbers"),
    ("annotations", box(bbox=[1, 1, 5, "5"]), r"expected four finite numbers"),
    ("annotations", box(bbox=[50, 1, 5, 5]), r"lies outside the picture of 40×30 pixels"),
    ("annotations", box(bbox=[30, 1, 12, 5]), r"lies outside the picture"),
    ("annotations", box(area=-1), r"area is -1 and iscrowd 0"),
    ("annotations", box(iscrowd=2), r"iscrowd 2; expected square pixels, and 0 or 1"),
    ("images", {"id": 1, "file_name": "c.png"}, r"c.png: .*the picture is missing"),
    ("images", {"id": 9, "file_name": "c.png"}, r"c.png: .*image id 9: the id or the file name is there twice"),
    ("images", {"id": 1, "file_name": "a.png"}, r"a.png: .*the id or the file name is there twice"),
    ("images", {"id": 1, "file_name": "../a.png"}, r"\.\./a.png: .*leads out of the data's folder"),
    ("images", {"id": 1, "file_name": "/etc/passwd"}, r"leads out of the data's folder"),
    ("images", {"id": 1, "file_name": "x" * 5000}, r"the picture is missing"),
    ("images", {"id": 1, "file_name": "instances.json"}, r"instances.json: "),
])  # fmt: skip
def test_faults_of_coco(tmp_path: Path, part: str, entry: dict[str, Any], message: str) -> None:
    content = instances()
    content[part].append(entry)
    write_coco(tmp_path, content)
    with pytest.raises(DataError, match=message) as caught:
        opened(f"coco:{tmp_path}")
    assert len(caught.value.faults) == 1
    data = opened(f"coco:{tmp_path}", "skip")
    assert data.keys == ("a.png", "b.png")
    assert sum(len(record.target["boxes"]) for record in data.records) == 2
    assert len(data.skipped) == 1
    assert data.skipped[0].whole is (part == "images")


def test_all_faults_come_in_one_message(tmp_path: Path) -> None:
    content = instances()
    content["annotations"] += [box(id=number, bbox=[1, 1, 0, 5]) for number in (10, 11)]
    (write_coco(tmp_path, content) / "a.png").unlink()
    with pytest.raises(DataError, match=r"3 faults") as caught:
        opened(f"coco:{tmp_path}")
    assert [fault.key for fault in caught.value.faults] == ["a.png", "b.png", "b.png"]


def test_a_size_that_is_not_written_is_the_pictures(tmp_path: Path) -> None:
    content = instances()
    for image in content["images"]:
        del image["width"]
    content["annotations"].append(box(bbox=[50, 1, 5, 5]))
    with pytest.raises(DataError, match=r"outside the picture of 40×30 pixels"):
        opened(f"coco:{write_coco(tmp_path, content)}")


def test_coco_mini(shared_data: Path) -> None:
    data = opened(f"coco:{shared_data / 'coco-mini'}")
    assert (len(data), len(data.classes), data.classes[0], data.classes[79]) == (32, 80, "person", "toothbrush")
    assert sum(len(record.target["boxes"]) for record in data.records) == 288
    assert sum(int(record.target["iscrowd"].sum()) for record in data.records) == 5


# -- voc -------------------------------------------------------------------------------------------------------------------


def annotation(filename: str | None = "a.png", objects: str = "", size: str = "<width>40</width><height>30</height>") -> str:
    name = "" if filename is None else f"<filename>{filename}</filename>"
    return f"<annotation>{name}<size>{size}</size>{objects}</annotation>"


def thing(name: str = "cat", box: tuple[Any, ...] = (1, 2, 11, 22), difficult: int = 0) -> str:
    sides = "".join(f"<{side}>{value}</{side}>" for side, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True))
    return f"<object><name>{name}</name><difficult>{difficult}</difficult><bndbox>{sides}</bndbox></object>"


def write_voc(root: Path, **files: str) -> Path:
    contents = {"a": annotation(objects=thing("dog") + thing("cat", difficult=1)), "b": annotation("b.png"), **files}
    for folder in ("Annotations", "ImageSets/Main"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for stem, content in contents.items():
        (root / "Annotations" / f"{stem}.xml").write_text(content)
    for name in ("a.png", "b.png"):
        write_picture(root / "JPEGImages" / name, picture((90, 90, 90), size_hw=(30, 40)))
    (root / "ImageSets" / "Main" / "test.txt").write_text("b\n")
    (root / "ImageSets" / "Main" / "dog_train.txt").write_text("a  1\n\nb -1\n")
    return root


def test_voc_is_read(tmp_path: Path) -> None:
    data = opened(f"voc:{write_voc(tmp_path)}")
    assert (data.classes, data.keys) == (("cat", "dog"), ("JPEGImages/a.png", "JPEGImages/b.png"))
    first, second = (record.target for record in data.records)
    assert first["boxes"].tolist() == [[1, 2, 11, 22]] * 2  # as written: no pixel is taken off
    assert first["labels"].tolist() == [1, 0]
    assert first["difficult"].tolist() == [False, True]
    assert first["area"].tolist() == [200.0, 200.0]
    assert second["boxes"].shape == (0, 4)
    assert data[0].image.shape == (30, 40, 3)


def test_splits_of_voc_count_classes_alike(tmp_path: Path) -> None:
    write_voc(tmp_path)
    data = opened(f"voc:{tmp_path}?split=test")
    assert (data.keys, data.classes) == (("JPEGImages/b.png",), ("cat", "dog"))
    assert len(opened(f"voc:{tmp_path}?split=dog_train")) == 2
    with pytest.raises(InputError, match=r"no split 'val'; the lists in .* are: dog_train, test"):
        opened(f"voc:{tmp_path}?split=val")


def test_names_without_an_ending_or_none_at_all(tmp_path: Path) -> None:
    write_voc(tmp_path, a=annotation("a"), b=annotation(None, size=""))
    assert opened(f"voc:{tmp_path}").keys == ("JPEGImages/a.png", "JPEGImages/b.png")


@pytest.mark.parametrize(("content", "message"), [
    (annotation(objects=thing(box=(5, 5, 5, 9))), r"a.xml: object 1 \(cat\): the box \[5, 5, 5, 9\] \(xyxy\) has no area"),
    (annotation(objects=thing(box=(5, 5, 9, "x"))), r"bndbox is xmin='5', ymin='5', xmax='9', ymax='x'; expected four numbers"),
    (annotation(objects=thing(box=(5, 5, "nan", 9))), r"not four finite numbers"),
    (annotation(objects=thing(box=(5, 5, 42, 9))), r"outside the picture of 40×30"),
    (annotation(objects=thing(box=(5, 5, 42, 9)), size="<width>0</width>"), r"outside the picture of 40×30"),
    (annotation(objects=thing(name="")), r"object 1 \(\?\): it has no name"),
    (annotation(objects="<object><name>cat</name></object>"), r"xmin='', ymin=''"),
])  # fmt: skip
def test_faulty_boxes_of_voc(tmp_path: Path, content: str, message: str) -> None:
    write_voc(tmp_path, a=content)
    with pytest.raises(DataError, match=message):
        opened(f"voc:{tmp_path}")
    data = opened(f"voc:{tmp_path}", "skip")
    assert (len(data), len(data.skipped), data.skipped[0].whole) == (2, 1, False)


@pytest.mark.parametrize(("content", "message"), [
    ("<annotation>", r"Annotations/a.xml: can't be read as XML"),
    ('<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', r"can't be read as XML \(EntitiesForbidden"),
    ('<?xml version="1.0" encoding="nonsense"?><a/>', r"can't be read as XML"),
    (annotation("c.png"), r"its picture JPEGImages/c.png is missing"),
    (annotation("../JPEGImages/a.png"), r"filename is '../JPEGImages/a.png'; expected a name inside JPEGImages"),
    (annotation("/etc/passwd"), r"expected a name inside JPEGImages"),
    (annotation("b.png"), r"names the picture JPEGImages/b.png, which another annotation has"),
])  # fmt: skip
def test_faulty_files_of_voc(tmp_path: Path, content: str, message: str) -> None:
    write_voc(tmp_path, a=content)
    with pytest.raises(DataError, match=message):
        opened(f"voc:{tmp_path}")
    data = opened(f"voc:{tmp_path}", "skip")
    assert (data.keys, len(data.skipped), data.skipped[0].whole) == (("JPEGImages/b.png",), 1, True)


def test_a_picture_whose_size_can_not_be_read(tmp_path: Path) -> None:
    write_voc(tmp_path, a=annotation(size=""))
    (tmp_path / "JPEGImages" / "a.png").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"Annotations/a.xml: its picture a.png "):
        opened(f"voc:{tmp_path}")


def test_a_split_that_names_what_is_not_there(tmp_path: Path) -> None:
    (write_voc(tmp_path) / "ImageSets" / "Main" / "test.txt").write_text("b\n../a\n")
    with pytest.raises(DataError, match=r"Annotations/\.\./a.xml: is named by the split, and missing from Annotations"):
        opened(f"voc:{tmp_path}?split=test")


def test_lists_and_folders_that_can_not_be_read(tmp_path: Path) -> None:
    (write_voc(tmp_path) / "ImageSets" / "Main" / "test.txt").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(DataError, match=r"test.txt can't be read"):
        opened(f"voc:{tmp_path}?split=test")
    with pytest.raises(DataError, match=r"has no folder Annotations"):
        opened(f"voc:{tmp_path / 'JPEGImages'}")


def test_blood_cells(shared_data: Path) -> None:
    cells = f"voc:{shared_data / 'bccd'}"
    with pytest.raises(DataError, match=r"2 faults") as caught:
        opened(cells)
    assert [fault.key for fault in caught.value.faults] == ["Annotations/BloodImage_00338.xml", "Annotations/BloodImage_00343.xml"]
    data = opened(cells, "skip")
    assert (len(data), data.classes) == (364, ("Platelets", "RBC", "WBC"))
    assert sum(len(record.target["boxes"]) for record in data.records) == 4886
    assert {split: len(opened(f"{cells}?split={split}", "skip")) for split in ("train", "val", "trainval", "test")} == {
        "train": 205, "val": 87, "trainval": 292, "test": 72,
    }  # fmt: skip


# -- demo ------------------------------------------------------------------------------------------------------------------


def test_scenes_are_drawn_the_same_every_time() -> None:
    one, again = opened("demo:scenes?split=train&n=6"), opened("demo:scenes?split=train&n=3")
    for first, second in zip(again, one, strict=False):
        assert first.key == second.key
        assert np.array_equal(first.image, second.image)
        assert np.array_equal(first.target["boxes"], second.target["boxes"])
        assert (first.image.shape, first.image.dtype.name) == ((128, 160, 3), "uint8")
    other = opened("demo:scenes?split=train&n=3&seed=1")
    assert not np.array_equal(other[0].image, again[0].image)
    assert not np.array_equal(opened("demo:scenes?split=test&n=3")[0].image, again[0].image)
    assert len(opened("demo:scenes?n=2")) == 4
    assert opened("demo:scenes").classes == tuple("0123456789")


def test_the_scenes_boxes_are_right() -> None:
    data = opened("demo:scenes?split=test&n=60")
    counts = [len(record.target["boxes"]) for record in data.records]
    assert 0 in counts
    assert max(counts) == 5
    for record in data.records:
        boxes = record.target["boxes"]
        assert bool((boxes[:, :2] >= 0).all())
        assert bool((boxes[:, 2:] <= (160, 128)).all())
        assert bool((boxes[:, 2:] - boxes[:, :2] >= 6).all())
        assert set(record.target["labels"].tolist()) <= set(range(10))
    # the ink differs from its surroundings: along the border of the picture's only digit lies less contrast than inside
    alone = next(sample for sample, count in zip(data, counts, strict=True) if count == 1)
    left, top, right, bottom = (int(side) for side in alone.target["boxes"][0])
    background = np.median(alone.image.reshape(-1, 3), axis=0)
    difference = np.abs(alone.image - background).sum(2)
    outside = difference.copy()
    outside[top:bottom, left:right] = 0
    assert difference[top:bottom, left:right].mean() > 2 * outside[outside > 0].mean()


def test_the_splits_share_no_digit() -> None:
    from zoo.tasks.detection.datasets.scenes import _scans

    train, test = ({scan.tobytes() for scan, _ in _scans(split)} for split in ("train", "test"))
    assert len(_scans("train")) + len(_scans("test")) == 1797
    assert not train & test


@pytest.mark.parametrize(("text", "kind", "message"), [
    ("demo:scene", UnknownNameError, r"unknown demo data of detection 'scene'. Nearest: scenes"),
    ("demo:scenes?split=val", InputError, r"split is 'val'; expected train or test"),
    ("demo:scenes?n=0", InputError, r"n is '0'; expected a whole number, 1 or more"),
    ("demo:scenes?seed=x", InputError, r"seed is 'x'; expected a whole number, 0 or more"),
])  # fmt: skip
def test_wrong_scenes_are_refused(text: str, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        opened(text)
