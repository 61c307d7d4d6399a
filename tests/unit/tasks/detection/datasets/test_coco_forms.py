"""`coco:`: forms that other tools write, and what is reported of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faster_coco_eval.core import mask as coco_mask

from tests.detection_data import instances, opened, write_coco
from zoo.cli.main import main
from zoo.data.dataset import Dataset
from zoo.errors import DataError, InputError
from zoo.tasks.detection.prediction import files

BOXES = [[1, 2, 11, 22], [0, 0, 40, 30]]  # of the first of two images


def boxes(data: Dataset) -> list[list[list[float]]]:
    return [record.target["boxes"].tolist() for record in data.records]


@pytest.mark.parametrize("name", [
    "images\\{}", "C:\\Users\\me\\project\\images\\{}", "\\\\server\\share\\images\\{}", "/home/me/project/images/{}", "project/images/{}",
    "..\\..\\project\\images\\{}", "../project/images/{}", "file:///home/me/images/{}", "C:/me\\images/{}",
])  # fmt: skip
def test_paths_of_another_computer(tmp_path: Path, name: str) -> None:
    content = instances()
    for image in content["images"]:
        image["file_name"] = name.format(image["file_name"])
    write_coco(tmp_path, content, pictures="images")
    (tmp_path / "a.png").write_bytes(b"a shorter end of the path, which isn't used")
    data = opened(f"coco:{tmp_path}")
    assert data.keys == ("images/a.png", "images/b.png")
    assert [record.source for record in data.records] == [tmp_path / "images" / "a.png", tmp_path / "images" / "b.png"]
    assert boxes(data) == [BOXES, []]
    assert data.notes == (f"2 images found by the end of the path in file_name, such as {name.format('a.png')!r} as 'images/a.png'",)


def test_two_paths_with_the_same_end(tmp_path: Path) -> None:
    content = instances()
    content["images"][1]["file_name"] = "D:\\other\\a.png"
    with pytest.raises(DataError, match="the id or the file name occurs twice"):
        opened(f"coco:{write_coco(tmp_path, content)}")


def test_a_path_without_any_end(tmp_path: Path) -> None:
    content = instances()
    content["images"][1]["file_name"] = "D:\\other\\c.png"
    with pytest.raises(DataError, match=r"outside the dataset folder, and no end of it is a file inside; searched in \., images") as caught:
        opened(f"coco:{write_coco(tmp_path, content, pictures='images')}")
    assert [fault.kind for fault in caught.value.faults] == ["no-picture"]


@pytest.mark.parametrize("change", [str, float])
@pytest.mark.parametrize(("part", "key", "of"), [
    ("annotations", "image_id", "images"), ("annotations", "category_id", "categories"), ("images", "id", ""), ("categories", "id", ""),
])  # fmt: skip
def test_ids_of_another_type(tmp_path: Path, part: str, key: str, of: str, change: Any) -> None:
    content = instances()
    for entry in content[part]:
        entry[key] = change(entry[key])
    data = opened(f"coco:{write_coco(tmp_path, content)}")
    assert (boxes(data), data.classes) == ([BOXES, []], ("cat", "dog"))
    assert data.records[0].target["labels"].tolist() == [1, 0]
    expected = {float: 0, str: 1}[change]
    assert len(data.notes) == expected
    if expected:
        given, example = ("text", {"image_id": "'0'", "category_id": "'7'"}.get(key)) if part == "annotations" else ("a number", None)
        assert f"is {given} in 2 entries" in data.notes[0]
        assert example is None or f"such as {example}, but not in {of}: it was matched as text" in data.notes[0]


@pytest.mark.parametrize(("key", "given", "message"), [
    ("image_id", "8", r"for image_id '8', which is not in images \(it is text, but the ids in images are numbers\)"),
    ("category_id", "8", r"category_id is '8'; there is no such category \(it is text, but the ids in categories are numbers\)"),
    ("image_id", 8, r"for image_id 8, which is not in images$"),
    ("image_id", 0.5, r"annotations\[0\]: image_id is 0.5; expected a whole number"),
])  # fmt: skip
def test_ids_that_dont_match(tmp_path: Path, key: str, given: Any, message: str) -> None:
    content = instances()
    content["annotations"][0][key] = given
    with pytest.raises(DataError, match=f"(?m){message}"):
        opened(f"coco:{write_coco(tmp_path, content)}")


def test_ids_that_are_equal_as_text_are_not_guessed(tmp_path: Path) -> None:
    content = instances()
    content["images"][1]["id"] = "0"
    content["annotations"][1]["image_id"] = 0.0
    assert boxes(opened(f"coco:{write_coco(tmp_path, content)}")) == [BOXES, []]
    content["annotations"][1]["image_id"] = " 0"
    with pytest.raises(DataError, match="for image_id ' 0', which is not in images"):
        opened(f"coco:{write_coco(tmp_path, content)}")


@pytest.mark.parametrize("root", ["cat", "pets"])
def test_an_unused_parent_of_all_categories_is_dropped(tmp_path: Path, root: str) -> None:
    content = instances()
    for category in content["categories"]:
        category["supercategory"] = root
    content["categories"].insert(0, {"id": 0, "name": root, "supercategory": "none"})
    data = opened(f"coco:{write_coco(tmp_path, content)}")
    assert data.classes == ("cat", "dog")
    assert data.records[0].target["labels"].tolist() == [1, 0]
    assert data.notes == (f"the category {root!r} (id 0) is only the parent of the others, and no annotation uses it: it was dropped",)


def test_parents_that_are_classes_stay(tmp_path: Path) -> None:
    content = instances()
    content["categories"] = [
        {"id": 0, "name": "pets", "supercategory": "none"},
        *({**category, "supercategory": "pets"} for category in content["categories"]),
    ]
    content["annotations"][0]["category_id"] = 0
    assert opened(f"coco:{write_coco(tmp_path, content)}").classes == ("pets", "cat", "dog")
    content["annotations"][0]["category_id"] = 7
    content["categories"][1]["supercategory"] = "others"
    assert opened(f"coco:{write_coco(tmp_path, content)}").classes == ("pets", "cat", "dog")


def _runs(compressed: bool) -> dict[str, Any]:
    mask = np.zeros((30, 40), np.uint8)
    mask[2:22, 1:11] = 1
    runs: dict[str, Any] = coco_mask.encode(np.asfortranarray(mask))
    if compressed:
        return {"size": [30, 40], "counts": runs["counts"].decode() if isinstance(runs["counts"], bytes) else runs["counts"]}
    flat = mask.flatten(order="F")
    edges = np.flatnonzero(np.diff(flat)) + 1
    return {"size": [30, 40], "counts": np.diff([0, *edges, len(flat)]).tolist()}


@pytest.mark.parametrize("outline", [[[1, 2, 11, 2, 11, 22]], [[1, 2, 5, 2, 5, 9], [6, 20, 11, 20, 11, 22]], _runs(True), _runs(False)])
@pytest.mark.parametrize("change", [{}, {"bbox": None}, {"bbox": []}])
def test_boxes_enclose_outlines(tmp_path: Path, outline: Any, change: dict[str, Any]) -> None:
    content = instances()
    del content["annotations"][0]["bbox"]
    content["annotations"][0] |= {"segmentation": outline, **change}
    data = opened(f"coco:{write_coco(tmp_path, content)}")
    assert boxes(data) == [BOXES, []]
    assert data.records[0].target["area"].tolist() == [99.5, 40.5 * 30]
    assert data.notes == ("1 annotation without bbox, such as annotation id 0: their boxes enclose their outlines (segmentation)",)


@pytest.mark.parametrize(("annotation", "message"), [
    ({"segmentation": [[1, 2, 3]]}, r"annotation id 0: bbox is missing: the segmentation is \[\[1, 2, 3\]\]; expected polygons"),
    ({"segmentation": []}, r"annotation id 0: bbox is \[\]; expected four finite numbers"),
    ({"segmentation": {"size": [30, 40], "counts": "?"}}, r"annotation id 0: "),
    ({}, r"annotations\[0\] has no bbox and no segmentation"),
])  # fmt: skip
def test_outlines_that_have_no_box(tmp_path: Path, annotation: dict[str, Any], message: str) -> None:
    content = instances()
    content["annotations"] = [{"id": 0, "image_id": 0, "category_id": 7, **annotation}]
    with pytest.raises(DataError, match=message):
        opened(f"coco:{write_coco(tmp_path, content)}")


@pytest.mark.parametrize(("file", "pictures", "query"), [
    ("labels.json", "images", ""), ("labels.json", "photos", ""), ("labels.json", "", ""), ("annotations/instances_val.json", "val", ""),
    ("annotations/my.json", "photos", ""), ("labels.json", "a/b", "?images=a/b"), ("labels.json", "a/b", "?images={root}/a/b"),
])  # fmt: skip
@pytest.mark.parametrize("scheme", ["coco:", ""])
def test_a_named_file(tmp_path: Path, file: str, pictures: str, query: str, scheme: str) -> None:
    write_coco(tmp_path, file=file, pictures=pictures)
    (tmp_path / "another.json").write_text("{}")
    data = opened(f"{scheme}{tmp_path / file}{query.format(root=tmp_path)}")
    assert data.keys == ("a.png", "b.png")
    assert data.records[0].source == tmp_path / pictures / "a.png"


def test_a_named_file_is_one_split(tmp_path: Path) -> None:
    write_coco(tmp_path)
    with pytest.raises(InputError, match="names an annotation file; split= and json= choose one in a folder"):
        opened(f"coco:{tmp_path / 'instances.json'}?split=train")
    (tmp_path / "other.json").write_text('{"shapes": []}')
    with pytest.raises(InputError, match="no data format of the task detection was recognised"):
        opened(str(tmp_path / "other.json"))


def test_a_folder_with_any_annotation_file_is_recognised(tmp_path: Path) -> None:
    write_coco(tmp_path, file="result.json", pictures="images")
    assert len(opened(str(tmp_path))) == 2


def test_two_folders_with_the_image_are_not_guessed(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_coco(tmp_path, file="labels.json", pictures=name)
    with pytest.raises(DataError, match=r"the image is missing; searched in \."):
        opened(f"coco:{tmp_path / 'labels.json'}")


def test_results_with_ids_as_text(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = opened(f"coco:{write_coco(tmp_path)}")
    file = tmp_path / "results.json"
    file.write_text(json.dumps([{"image_id": "0", "category_id": "7", "bbox": [1, 2, 10, 20], "score": 0.5}]))
    found = files.read(file, data, data.classes)["a.png"]
    assert (found["boxes"].tolist(), found["labels"].tolist()) == ([[1, 2, 11, 22]], [1])
    assert "image_id is text in 1 entry, such as '0', but not in the dataset: it was matched as text" in caplog.text


def test_every_verb_reports_what_was_assumed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = instances()
    for image in content["images"]:
        image["file_name"] = f"C:\\me\\{image['file_name']}"
    for annotation in content["annotations"]:
        annotation["image_id"] = str(annotation["image_id"])
    write_coco(tmp_path / "in", content)
    text = f"coco:{tmp_path / 'in'}"
    assert main(["data", "convert", text, f"voc:{tmp_path / 'out'}"]) == 0
    assert "found by the end of the path" in capsys.readouterr().err
    assert boxes(opened(f"voc:{tmp_path / 'out'}")) == [BOXES, []]
    assert main(["data", "check", text, "--fix", str(tmp_path / "fixed")]) == 1  # crowds and equal images are findings
    assert "note: assumed – what the reader assumed, converted or ignored (2)" in capsys.readouterr().out
    fixed = json.loads((tmp_path / "fixed" / "instances.json").read_text())
    assert (len(fixed["images"]), len(fixed["annotations"])) == (2, 2)
