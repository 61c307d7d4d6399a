"""`yolo:`: variants of data.yaml, bare folders, lists, and every error in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.pictures import picture, write_picture
from zoo.data.dataset import Dataset, OnError
from zoo.data.formats import open_data
from zoo.errors import DataError, InputError
from zoo.tasks.detection.data.yolo.labels import label_key
from zoo.tasks.detection.datasets import SCHEMES

YAML = "path: .\ntrain: images/train\nval: images/val\nnames:\n  0: cat\n  1: dog\n"


def opened(data: object, on_error: OnError = "raise", say: Any = None) -> Dataset:
    return open_data(data, SCHEMES, "detection", on_error, say)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "data"
    for name in ("train/a", "train/b", "val/c"):
        write_picture(root / "images" / f"{name}.png", picture((9, 9, 9), 0, (100, 200)))
        (root / "labels" / name).parent.mkdir(parents=True, exist_ok=True)
    (root / "labels/train/a.txt").write_text("1 0.5 0.5 0.5 0.2\n\n0 0.1 0.2 0.2 0.4\n")
    (root / "labels/val/c.txt").write_text("0 0.25 0.5 0.5 1\n")
    (root / "data.yaml").write_text(YAML)
    return root


def test_fractions_become_pixels(folder: Path) -> None:
    dataset = opened(f"yolo:{folder}?split=train")
    assert dataset.keys == ("images/train/a.png", "images/train/b.png")
    assert dataset.classes == ("cat", "dog")
    target = dataset.records[0].target
    np.testing.assert_allclose(target["boxes"], [[50, 40, 150, 60], [0, 0, 40, 40]], atol=1e-4)
    assert target["labels"].tolist() == [1, 0]
    np.testing.assert_allclose(target["area"], [2000, 1600], rtol=1e-5)
    assert dataset.records[1].target["boxes"].shape == (0, 4)  # no label file: no objects
    assert dataset[0].image.shape == (100, 200, 3)


def test_a_split_must_be_named_where_there_are_several(folder: Path) -> None:
    assert opened(f"yolo:{folder}?split=val").keys == ("images/val/c.png",)
    with pytest.raises(InputError, match=r"has the splits train, val; choose one with \?split=train"):
        opened(f"yolo:{folder}")
    with pytest.raises(InputError, match=r"no split 'test' in .*; its splits are: train, val"):
        opened(f"yolo:{folder}?split=test")


def test_classes_and_limit(folder: Path) -> None:
    dogs = opened(f"yolo:{folder}?split=train&classes=dog&limit=1")
    assert dogs.keys == ("images/train/a.png",)
    assert dogs.records[0].target["labels"].tolist() == [0]


@pytest.mark.parametrize(
    "yaml",
    [
        "train: images/train\nnames: [cat, dog]\nnc: 2\n",
        "train: ../images/train\nnames: [cat, dog]\n",  # Roboflow
        "path: images\ntrain: train\nnames: [cat, dog]\n",
        "train: [images/train, images/val]\nnames: [cat, dog]\n",
        "train: list.txt\nval:\nnames: {1: dog, 0: cat}\n",
    ],
)
def test_variants_of_the_yaml(folder: Path, yaml: str) -> None:
    (folder / "data.yaml").write_text(yaml)
    (folder / "list.txt").write_text("./images/train/a.png\nimages/val/c.png\n")
    dataset = opened(f"yolo:{folder / 'data.yaml'}")
    assert dataset.classes == ("cat", "dog")
    assert dataset.keys[0].endswith("train/a.png")
    assert len(dataset.records[0].target["boxes"]) == (0 if yaml.startswith("path: images") else 2)
    assert len(dataset) == 2 + (", images/val" in yaml)


def test_a_yaml_elsewhere_takes_root(folder: Path) -> None:
    yaml = folder.parent / "deep/er/coco.yaml"
    yaml.parent.mkdir(parents=True)
    yaml.write_text(YAML.replace("path: .", "path: ../datasets/data"))
    with pytest.raises(DataError, match=r"path is '\.\./datasets/data', which is not a folder\. .*\?root=FOLDER"):
        opened(f"yolo:{yaml}?split=val")
    assert opened(f"yolo:{yaml}?split=val&root={folder}").keys == ("images/val/c.png",)


def test_bare_folders(folder: Path) -> None:
    (folder / "data.yaml").unlink()
    dataset = opened(f"yolo:{folder}?split=val")
    assert dataset.classes == ("0", "1")  # numbers of both splits
    assert dataset.keys == ("images/val/c.png",)
    with pytest.raises(InputError, match="has the splits train, val"):
        opened(f"yolo:{folder}")
    (folder / "labels/classes.txt").write_text("cat\ndog\ncow\n")
    assert opened(f"yolo:{folder}?split=train").classes == ("cat", "dog", "cow")
    with pytest.raises(InputError, match=r"root= needs a data\.yaml"):
        opened(f"yolo:{folder}?split=val&root={folder}")
    (folder / "classes.txt").write_text("cat\ncat\n")
    with pytest.raises(
        DataError, match=r"classes\.txt: expected one class per line, without repetitions; got 2 lines, 1 of them different"
    ):
        opened(f"yolo:{folder}?split=val")


def test_bare_paths_are_recognised(folder: Path) -> None:
    said: list[str] = []
    for path in (folder, folder / "data.yaml"):
        opened(f"{path}?split=val", say=said.append)
    assert "recognised as yolo, because it has a data.yaml that names classes" in said[0]
    assert "recognised as yolo, because it is a YAML file with names and train, val or test" in said[1]
    (folder / "data.yaml").unlink()
    opened(f"{folder}?split=val", say=said.append)
    assert "because it has images and YOLO's text files" in said[2]
    assert "no file names the classes" in said[3]
    (folder / "x.yaml").write_text(": :\n- [")
    for name in ("x.yaml", "images"):
        with pytest.raises(InputError, match="no data format"):
            opened(folder / name)


@pytest.mark.parametrize(
    ("key", "labels"),
    [
        ("images/train/a.jpg", "labels/train/a.txt"),
        ("images/images/a.b.jpg", "images/labels/a.b.txt"),
        ("train/images/a.jpg", "train/labels/a.txt"),
        ("myimages/a.jpg", "myimages/a.txt"),
    ],
)
def test_where_labels_lie(key: str, labels: str) -> None:
    assert label_key(key) == labels


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("2 .5 .5 .1 .1", "the class is 2; expected a whole number from 0 to 1"),
        ("-1 .5 .5 .1 .1", "the class is -1; expected"),
        ("0.5 .5 .5 .1 .1", r"the class is 0\.5; expected"),
        ("nan .5 .5 .1 .1", "the class is nan; expected"),
        ("cat .5 .5 .1 .1", "is 'cat .5 .5 .1 .1'; expected five numbers"),
        ("0 .5 .5 .1", "has 4 values; expected class cx cy w h$"),
        ("0 .5 .5 .1 .1 45", "has 6 values, and the last is 45; expected a confidence from 0 to 1$"),
        ("0 .5 .5 .1 .1 nan", "the last is nan; expected a confidence"),
        ("0 .5 .5 .1 .1 cat", "expected numbers, class cx cy w h or class x1 y1 x2 y2 x3 y3"),
        ("0 .1 .1 .2 .1 .2 .2 7", "has 8 values, and the last is 7; expected a confidence"),
        ("0 .1 .1 .2 .1 .2 2", r"the points are \.1 \.1 \.2 \.1 \.2 2; expected fractions"),
        ("0 .1 .1 .2 .1 .2 20", "the points are .*; expected fractions"),
        ("0 .1 .1 .2 .1 .2 nan", "the points are .*; expected fractions"),
        ("0 .1 .1 .2 .1 .3 .1", "has no area"),
        ("1 2 9 2 9 8 2 8 cow 0", "the class is 'cow'; expected one of cat, dog"),
        ("1 x 9 2 9 8 2 8 dog 0", "expected x1 y1 x2 y2 x3 y3 x4 y4 class difficult"),
        ("1 inf 9 2 9 8 2 8 dog", "expected finite numbers"),
        ("1 2 900 2 900 8 2 8 dog", "lies outside the image"),
        ("0 150 60 20 10", "cx cy w h are 150 60 20 10; expected fractions of the image, from 0 to 1"),
        ("0 .5 -.1 .1 .1", r"cx cy w h are \.5 -\.1 \.1 \.1; expected fractions"),
        ("0 .5 .5 nan .1", "expected fractions"),
        ("0 .5 .5 0 .1", "has no area"),
        ("0 .9 .5 .5 .1", "lies outside the image of 200×100 pixels"),
    ],
)
def test_wrong_lines_are_named(folder: Path, line: str, fault: str) -> None:
    (folder / "labels/train/a.txt").write_text(f"1 0.5 0.5 0.5 0.2\n{line}\n")
    with pytest.raises(DataError) as caught:
        opened(f"yolo:{folder}?split=train")
    (found,) = caught.value.faults
    assert found.key == "labels/train/a.txt line 2"
    with pytest.raises(DataError, match=fault):
        raise DataError(found.reason)
    rest = opened(f"yolo:{folder}?split=train", "skip")
    assert rest.records[0].target["labels"].tolist() == [1]
    assert rest.skipped == (found,)


def test_files_that_do_not_fit_together(folder: Path) -> None:
    (folder / "labels/train/z.txt").write_text("")
    (folder / "labels/train/b.txt").write_bytes(b"\xff")
    (folder / "images/train/broken.png").write_bytes(b"no")
    with pytest.raises(DataError, match="3 errors") as caught:
        opened(f"yolo:{folder}?split=train")
    reasons = {fault.key: fault.reason for fault in caught.value.faults}
    assert reasons["labels/train/z.txt"] == "labels without an image"
    assert reasons["labels/train/b.txt"].startswith("the labels can't be read: ")
    assert "b.txt is not valid UTF-8 (invalid start byte at byte 0); save it as UTF-8" in reasons["labels/train/b.txt"]
    assert "images/train/broken.png" in reasons


def test_nothing_outside_the_folder_is_read(folder: Path) -> None:
    (folder.parent / "secret.txt").write_text("0 .5 .5 .1 .1")
    write_picture(folder.parent / "secret.png", picture((1, 1, 1)))
    (folder / "labels/train/b.txt").symlink_to(folder.parent / "secret.txt")
    with pytest.raises(DataError, match=r"labels/train/b\.txt: the labels can't be read: .* is outside the dataset folder"):
        opened(f"yolo:{folder}?split=train")
    (folder / "list.txt").write_text("../secret.png\n/etc/passwd\nimages/val/c.png\nimages/val/c.png\nimages/val/d.png\n")
    (folder / "data.yaml").write_text("val: list.txt\nnames: [cat, dog]")
    with pytest.raises(DataError, match="4 errors") as caught:
        opened(f"yolo:{folder}")
    first, second, third, fourth = caught.value.faults
    assert first.key.endswith("list.txt line 1")
    assert "is outside the dataset folder" in first.reason
    assert "is outside the dataset folder" in second.reason
    assert third.reason == "'images/val/c.png' is listed a second time"
    assert "'images/val/d.png' can't be found" in fourth.reason
    assert opened(f"yolo:{folder}", "skip").keys == ("images/val/c.png",)


@pytest.mark.parametrize(
    ("yaml", "message"),
    [
        ("- a", r"data\.yaml contains a list; expected a mapping"),
        ("a: [", r"data\.yaml is not valid YAML: "),
        ("!!python/object/apply:os.system [ls]", r"data\.yaml is not valid YAML: could not determine a constructor"),
        ("names: [a]", "names no images; expected train, val or test"),
        ("train: images/train", "names is a NoneType; expected the class names"),
        ("train: images/train\nnames: [cat, no]", "the class name False is not a string"),
        ("train: images/train\nnames: [cat, cat]", "names lists a class twice: 'cat'"),
        ("train: images/train\nnames: {1: cat, 2: dog}", "the keys of names are not the numbers 0 to 1"),
        ("train: images/train\nnames: [cat]\nnc: 2", "nc is 2, but there are 1 names"),
        ("train: images/none\nnames: [cat]", "train is 'images/none', which is neither a folder nor a .txt list inside"),
        ("train: ../../\nnames: [cat]", r"train is '\.\./\.\./', which is neither a folder nor"),
        ("train: /etc\nnames: [cat]", "train is '/etc', which is neither a folder nor"),
        ("train: 7\nnames: [cat]", "train is 7; expected a folder"),
        ("train: images\nnames: [cat]\npath: 7", "path is 7; expected a folder"),
        ("train: images/none\nnames: [cat]\npath: /etc", "train is 'images/none', which is neither a folder nor a .txt list inside /etc"),
        ("train: images\nnames: [cat]\nkpt_shape: [3]", r"kpt_shape is \[3\]; expected \[number of keypoints, 2 or 3\]"),
        ("train: images\nnc: many", "nc is many; expected a number of classes, from 1 to 100,000"),
        ("a: " + "b" * 1_000_001, r"is larger than 1,000,000 bytes"),
        ("[" * 5000, "is not valid YAML"),
    ],
)
def test_wrong_yaml(folder: Path, yaml: str, message: str) -> None:
    (folder / "data.yaml").write_text(yaml)
    with pytest.raises(DataError, match=message):
        opened(f"yolo:{folder}", "skip")


def test_neither_yaml_nor_folders(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has neither data\.yaml nor folders named 'images' and 'labels'"):
        opened(f"yolo:{tmp_path}")
