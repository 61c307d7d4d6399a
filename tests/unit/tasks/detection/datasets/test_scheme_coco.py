"""`coco:`: the data it reads, and every annotation error it reports."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.detection_data import instances, opened, write_coco, write_voc
from zoo.errors import DataError, InputError


def test_coco_is_read(tmp_path: Path) -> None:
    data = opened(f"coco:{write_coco(tmp_path)}")
    assert data.classes == ("cat", "dog")  # in the order of ids, with gaps
    assert data.keys == ("a.png", "b.png")
    first, second = (record.target for record in data.records)
    assert first["boxes"].tolist() == [[1, 2, 11, 22], [0, 0, 40, 30]]  # half a pixel outside is clipped
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
    ("annotations", box(id=5), r"the id 5 occurs twice"),
    ("annotations", box(bbox=[1, 1, 0, 5]), r"b.png: .*annotation id 6: the box \[1, 1, 1, 6\] \(xyxy\) has no area"),
    ("annotations", box(bbox=[1, 1, -2, 5]), r"has no area"),
    ("annotations", box(bbox=[1, 1, 5]), r"bbox is \[1, 1, 5\]; expected four finite numbers"),
    ("annotations", box(bbox=[1, 1, 5, float("nan")]), r"expected four finite numbers"),
    ("annotations", box(bbox=[1, 1, 5, 10**400]), r"expected four finite numbers"),
    ("annotations", box(bbox=[1, 1, 5, "5"]), r"expected four finite numbers"),
    ("annotations", box(bbox=[50, 1, 5, 5]), r"lies outside the image of 40×30 pixels"),
    ("annotations", box(bbox=[30, 1, 12, 5]), r"lies outside the image"),
    ("annotations", box(area=-1), r"area is -1 and iscrowd 0"),
    ("annotations", box(iscrowd=2), r"iscrowd 2; expected an area in square pixels, and 0 or 1"),
    ("images", {"id": 1, "file_name": "c.png"}, r"c.png: .*the image is missing"),
    ("images", {"id": 9, "file_name": "c.png"}, r"c.png: .*image id 9: the id or the file name occurs twice"),
    ("images", {"id": 1, "file_name": "a.png"}, r"a.png: .*the id or the file name occurs twice"),
    ("images", {"id": 1, "file_name": "../a.png"}, r"a.png: .*the id or the file name occurs twice"),
    ("images", {"id": 1, "file_name": "../c.png"}, r"\.\./c.png: .*is outside the dataset folder"),
    ("images", {"id": 1, "file_name": "/etc/passwd"}, r"is outside the dataset folder"),
    ("images", {"id": 1, "file_name": "x" * 5000}, r"the image is missing"),
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
    with pytest.raises(DataError, match=r"3 errors") as caught:
        opened(f"coco:{tmp_path}")
    assert [fault.key for fault in caught.value.faults] == ["a.png", "b.png", "b.png"]


def test_a_size_that_is_not_written_is_the_pictures(tmp_path: Path) -> None:
    content = instances()
    for image in content["images"]:
        del image["width"]
    content["annotations"].append(box(bbox=[50, 1, 5, 5]))
    with pytest.raises(DataError, match=r"outside the image of 40×30 pixels"):
        opened(f"coco:{write_coco(tmp_path, content)}")


def test_coco_mini(shared_data: Path) -> None:
    data = opened(f"coco:{shared_data / 'coco-mini'}")
    assert (len(data), len(data.classes), data.classes[0], data.classes[79]) == (32, 80, "person", "toothbrush")
    assert sum(len(record.target["boxes"]) for record in data.records) == 288
    assert sum(int(record.target["iscrowd"].sum()) for record in data.records) == 5
