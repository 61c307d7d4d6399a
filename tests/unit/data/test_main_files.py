"""Links to the main file of a dataset (COCO's JSON, a table, a YAML file) that leave its folder follow the rule of links to images."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import zoo
from tests.pictures import picture, write_picture
from zoo.errors import DataError, Flaw, InputError

COCO = {
    "images": [{"id": 1, "file_name": "1.png", "width": 20, "height": 10}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 3, "bbox": [1, 2, 5, 6]}],
    "categories": [{"id": 3, "name": "cat"}],
}
MAIN = {
    "coco": ("detection", "coco", "instances.json", json.dumps(COCO)),
    "boxes": ("detection", "csv", "_annotations.csv", "path,xmin,ymin,xmax,ymax,label\n1.png,1,2,5,6,cat\n"),
    "labels": ("classification", "csv", "metadata.csv", "file_name,label\n1.png,cat\n"),
    "yolo": ("detection", "yolo", "data.yaml", "train: .\nnames: [cat]\n"),
    "darknet": ("detection", "yolo", "obj.data", "classes = 1\ntrain = train.txt\n"),
}


@pytest.fixture(params=MAIN)
def linked(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, str, Path]:
    """Return the task, the scheme and the main file of a dataset, which is a link to a file outside its folder."""
    task, scheme, name, text = MAIN[request.param]
    write_picture(tmp_path / "set/1.png", picture((9, 9, 9), 1, (10, 20)))
    (tmp_path / "set/train.txt").write_text("1.png\n")
    (tmp_path / name).write_text(text)
    (tmp_path / "set" / name).symlink_to(tmp_path / name)
    return task, scheme, tmp_path / "set" / name


@pytest.mark.parametrize("rule", ["", "?links=own", "?links=follow"])
def test_a_link_of_this_user_is_followed(linked: tuple[str, str, Path], rule: str) -> None:
    task, scheme, file = linked
    for place in (file.parent, file):
        assert zoo.open_data(f"{scheme}:{place}{rule}", task).keys == ("1.png",)


def test_other_links_are_followed_only_if_the_file_is_named(linked: tuple[str, str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    task, scheme, file = linked
    message = rf"{re.escape(str(file))} is outside the dataset folder .* is a link that leaves it, and {{}}, or name this file instead"
    with pytest.raises(DataError, match=message.format("links=refuse")):
        zoo.open_data(f"{scheme}:{file.parent}?links=refuse", task)
    assert zoo.open_data(f"{scheme}:{file}?links=refuse", task).keys == ("1.png",)
    monkeypatch.setattr("os.geteuid", lambda: 12345)
    with pytest.raises(DataError, match=message.format(r"it belongs to another user; follow it with \?links=follow")):
        zoo.open_data(f"{scheme}:{file.parent}", task)


def test_a_file_behind_a_link_refers_to_no_image_outside_the_folder(linked: tuple[str, str, Path]) -> None:
    task, scheme, file = linked
    write_picture(file.parent.parent / "2.png", picture((9, 9, 9), 2, (10, 20)))
    (file.parent / "train.txt").write_text("../2.png\n")
    text = file.read_text().replace("1.png", "../2.png").replace("train: .", "train: train.txt")
    file.resolve().write_text(text)
    with pytest.raises((DataError, InputError, Flaw), match=r"outside the dataset folder"):
        zoo.open_data(f"{scheme}:{file.parent}", task)
