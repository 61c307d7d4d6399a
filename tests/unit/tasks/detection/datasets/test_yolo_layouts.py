"""`yolo:`: folders, YAML files, lists and Darknet files as tools export them and as people move them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.pictures import picture, write_picture
from zoo.curation.check.examination import examine
from zoo.curation.convert import convert
from zoo.data.dataset import Dataset
from zoo.data.formats import open_data
from zoo.errors import DataError, InputError
from zoo.task.contract import get_task
from zoo.tasks.detection.datasets import SCHEMES

NAMES = "names: [cat, dog]\n"
LABEL = "1 0.5 0.5 0.5 0.2\n"  # in an image of 200×100 pixels: [50, 40, 150, 60]


def opened(data: str, say: Any = None) -> Dataset:
    return open_data(data, SCHEMES, "detection", say=say)


def write(root: Path, files: dict[str, str]) -> Path:
    """Write text files, and for each value "image" an image and a label file as Ultralytics expects it; for "alone", only the image."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if text in ("image", "alone"):
            write_picture(path, picture((9, 9, 9), len(name), (100, 200)))
        if text == "image":
            path = Path("/labels/".join(str(path).rsplit("/images/", 1))).with_suffix(".txt")
            path.parent.mkdir(parents=True, exist_ok=True)
        if text != "alone":
            path.write_bytes((LABEL if text == "image" else text).encode())
    return root


def check(dataset: Dataset, *keys: str, classes: tuple[str, ...] = ("cat", "dog")) -> None:
    assert (dataset.keys, dataset.classes) == (keys, classes)
    for record in dataset.records:
        assert record.target["boxes"].round(3).tolist() == [[50, 40, 150, 60]]
        assert record.target["labels"].tolist() == [1]


SPLITS = {"train/images/a.png": "image", "valid/images/b.png": "image"}
ROBOFLOW = "train: ../train/images\nval: ../valid/images\nnc: 2\n" + NAMES
DARKNET = "classes = 2  # a comment\ntrain  = data/train.txt\nvalid = data/valid.txt\nnames = data/obj.names\nbackup = backup/\n"


@pytest.mark.parametrize(
    ("files", "data"),
    [
        ({**SPLITS, "data.yaml": ROBOFLOW}, "?split=val"),
        ({**SPLITS, "pets.yml": ROBOFLOW, "hyp.yaml": "lr0: 0.01\n"}, "?split=valid"),
        ({**SPLITS, "pets.yaml": ROBOFLOW}, "/pets.yaml?split=val"),
        ({**SPLITS, "data.yaml": "train: train/images\nvalid: valid/images\nnames: {'1': dog, 0: cat}\nnc: '2'\n"}, "?split=val"),
        ({**SPLITS, "data.yaml": "path: /content/pets\nval: valid/images\n" + NAMES}, ""),
        ({**SPLITS, "data.yaml": "val: C:\\Users\\me\\pets\\valid\\images\n" + NAMES}, ""),
        ({**SPLITS, "data.yaml": "val: [/content/pets/valid/images]\n" + NAMES}, ""),
        ({**SPLITS, "data.yaml": "val: valid/images\n", "classes.txt": "cat\ndog\n"}, ""),
        ({**SPLITS, "classes.txt": "cat\ndog\n"}, "?split=val"),
        ({"valid/images/b.png": "image", "lists/val.txt": "valid/images/b.png\r\n", "classes.txt": "cat\ndog"}, "/lists/val.txt"),
        ({"valid/images/b.png": "image", "val.txt": "D:\\pets\\valid\\images\\b.png", "data.yaml": "val: val.txt\n" + NAMES}, ""),
        ({"valid/images/b.png": "image", "val.txt": "\ufeff'./valid/images/b.png'\n", "data.yaml": "val: val.txt\n" + NAMES}, "/val.txt"),
    ],
)
def test_exports_of_roboflow_and_ultralytics(tmp_path: Path, files: dict[str, str], data: str) -> None:
    root = write(tmp_path / "pets", files)
    check(opened(f"yolo:{root}{data}"), "valid/images/b.png")
    check(opened(f"{root}{data}"), "valid/images/b.png")


@pytest.mark.parametrize(
    ("files", "data", "key"),
    [
        ({"obj/b.png": "image", "obj.data": DARKNET, "obj.names": "cat\ndog", "valid.txt": "data/obj/b.png"}, "", "obj/b.png"),  # CVAT
        ({"data/b.png": "image", "data/obj.data": DARKNET, "data/obj.names": "cat\ndog", "data/valid.txt": "data/b.png"}, "", "b.png"),
        ({"b.png": "image", "x.data": "valid=v.txt\nnames=c.names", "c.names": "cat\ndog", "v.txt": "C:\\b.png"}, "/x.data", "b.png"),
        ({"valid/b.png": "image", "valid/_darknet.labels": "cat\ndog\n", "train/a.png": "image"}, "", "valid/b.png"),  # Roboflow
    ],
)
def test_exports_for_darknet(tmp_path: Path, files: dict[str, str], data: str, key: str) -> None:
    root = write(tmp_path / "pets", files)
    for split in ("val", "valid"):
        check(opened(f"yolo:{root}{data}?split={split}"), key)
    check(opened(f"{root}{data}?split=val"), key)


def test_darknet_files_without_names(tmp_path: Path) -> None:
    root = write(tmp_path, {"b.png": "image", "v.txt": "b.png", "obj.data": "valid = v.txt\nclasses = 2"})
    dataset = opened(f"yolo:{root}")
    check(dataset, "b.png", classes=("0", "1"))
    assert "obj.data states classes: 2, but no names; the classes are named by their numbers" in dataset.notes
    write(root, {"obj.data": "valid = v.txt\nclasses = 3\nnames = obj.names", "obj.names": "cat\ndog"})
    with pytest.raises(DataError, match=r"obj\.data: nc is 3, but there are 2 names"):
        opened(f"yolo:{root}")
    (root / "obj.names").unlink()
    with pytest.raises(DataError, match=r"names is 'obj\.names', which is not a file in .*; expected a list of class names"):
        opened(f"yolo:{root}")
    write(root, {"obj.data": "names = obj.names"})
    with pytest.raises(DataError, match=r"names no images; expected lines such as train = data/train\.txt"):
        opened(f"yolo:{root / 'obj.data'}")


@pytest.mark.parametrize(
    ("image", "label", "place"),
    [
        ("b.png", "b.txt", ""),
        ("Images/b.png", "Labels/b.txt", "labels of Images are read from Labels"),
        ("JPEGImages/x/b.png", "labels/x/b.txt", "labels of JPEGImages/x are read from labels/x"),
        ("images/val/b.png", "labels/b.txt", ""),
        ("images/b.png", "yolo_labels/b.txt", "labels of images are read from yolo_labels"),
        ("images/b.png", "labels/b.png.txt", ""),
        ("images/b.png", "labels/b.TXT", ""),
    ],
)
def test_where_labels_lie(tmp_path: Path, image: str, label: str, place: str) -> None:
    root = write(tmp_path, {image: "alone", label: LABEL, "classes.txt": "cat\ndog\n"})
    dataset = opened(f"yolo:{root}?split=val" if "val" in image else f"yolo:{root}")
    check(dataset, image)
    assert [note for note in dataset.notes if place in note] if place else True


def test_images_without_labels_and_labels_without_images(tmp_path: Path) -> None:
    root = write(tmp_path, {"a.png": "alone", "b.png": "image", "classes.txt": "cat\ndog\n", "notes.txt": "mine"})
    dataset = opened(f"yolo:{root}")
    assert "images without a label file, read as images without objects: 1, a.png" in dataset.notes
    assert [len(record.target["boxes"]) for record in dataset.records] == [0, 1]
    write(root, {"lost.txt": LABEL})
    with pytest.raises(DataError, match=r"1 error .*\n  lost\.txt: labels without an image"):
        opened(f"yolo:{root}")
    root = write(tmp_path / "none", {"images/a.png": "alone", "data.yaml": "train: images\n" + NAMES})
    (note,) = opened(f"yolo:{root}").notes
    assert note == "no image has a label file (searched in labels): all are read as images without objects"


def test_a_yaml_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write(tmp_path / "datasets/pets", {**SPLITS, "pets.yaml": ROBOFLOW})
    monkeypatch.chdir(root)
    check(opened("yolo:pets.yaml?split=val"), "valid/images/b.png")
    monkeypatch.chdir(tmp_path)
    check(opened("yolo:datasets/pets/pets.yaml?split=val"), "valid/images/b.png")
    entries = "train: train/images\nval: valid/images\n" + NAMES
    write(tmp_path / "cfg", {"relative.yaml": f"path: ../datasets/pets\n{entries}", "current.yaml": f"path: datasets/pets\n{entries}"})
    write(
        tmp_path / "cfg",
        {
            "absolute.yaml": f"path: {root}\n{entries}",
            "old.yaml": f"train: {root}/train/images\nval: ../datasets/pets/valid/images\n{NAMES}",
        },
    )
    for name in ("relative", "current", "absolute", "old"):
        dataset = opened(f"yolo:cfg/{name}.yaml?split=val")
        check(dataset, "valid/images/b.png")
        assert [note for note in dataset.notes if note.endswith(f"the dataset folder is {root.resolve()}")]
        with pytest.raises(DataError, match=r"which is outside the folder of this file\. Read it with \?links=follow, or \?root=FOLDER"):
            opened(f"yolo:cfg/{name}.yaml?split=val&links=refuse")


def test_a_yaml_in_a_folder_of_the_dataset(tmp_path: Path) -> None:
    root = write(
        tmp_path, {**SPLITS, "cfg/path.yaml": f"path: ..\nval: valid/images\n{NAMES}", "cfg/old.yaml": f"val: ../valid/images\n{NAMES}"}
    )
    for name in ("path", "old"):
        check(opened(f"yolo:{root}/cfg/{name}.yaml"), "valid/images/b.png")
    write(root, {"cfg/above.yaml": f"path: ../..\nval: {root.name}\n{NAMES}"})  # contains the file itself
    with pytest.raises(DataError, match=r"val is '.*', which is neither a folder nor a \.txt list inside"):
        opened(f"yolo:{root}/cfg/above.yaml")


def test_lists_beside_folders_without_a_description(tmp_path: Path) -> None:
    root = write(
        tmp_path, {"obj/a.png": "image", "obj/b.png": "image", "train.txt": "obj/a.png", "val.txt": "obj/b.png", "obj.names": "cat\ndog"}
    )
    check(opened(f"yolo:{root}?split=valid"), "obj/b.png")
    dataset = opened(f"yolo:{root}")
    check(dataset, "obj/a.png", "obj/b.png")
    assert "all images are read; choose a list with ?split=train: train, val" in dataset.notes
    assert examine(f"yolo:{root}", "detection", workers=0).findings.splits == {"train": 1, "val": 1}
    with pytest.raises(InputError, match=r"no split 'test' in .*; its lists are: train, val"):
        opened(f"yolo:{root}?split=test")


@pytest.mark.parametrize("files", [{"pets/data.yaml": ROBOFLOW}, {}])
def test_a_dataset_in_a_folder_of_the_given_one(tmp_path: Path, files: dict[str, str]) -> None:
    root = write(tmp_path, {**{f"pets/{name}": text for name, text in SPLITS.items()}, **files})
    with pytest.raises(InputError, match=r"the dataset is in .*/pets, a folder of .*\. Open it as yolo:.*/pets$"):
        opened(f"yolo:{root}")


def test_a_folder_of_images_beside_its_labels(tmp_path: Path) -> None:
    root = write(tmp_path, {"images/train/a.png": "image", "images/val/b.png": "image", "data.yaml": f"train: images/train\n{NAMES}"})
    check(opened(f"yolo:{root}/images/val"), "images/val/b.png")
    check(opened(f"yolo:{root}/images?split=train"), "images/train/a.png")


def test_folders_of_other_users_are_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write(tmp_path / "pets", SPLITS)
    write(tmp_path / "cfg", {"p.yaml": f"path: {root}\nval: valid/images\n{NAMES}"})
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(DataError, match=r"path is .*, which is outside the folder of this file"):
        opened(f"yolo:{tmp_path / 'cfg/p.yaml'}")
    check(opened(f"yolo:{tmp_path / 'cfg/p.yaml'}?links=follow"), "valid/images/b.png")
    check(opened(f"yolo:{tmp_path / 'cfg/p.yaml'}?root={root}"), "valid/images/b.png")


def test_lists_of_absolute_paths(tmp_path: Path) -> None:
    root = write(tmp_path / "pets", SPLITS)
    text = f"{root}/valid/images/b.png\n"
    write(tmp_path / "lists", {"val.txt": text, "p.yaml": f"val: val.txt\n{NAMES}", "classes.txt": "cat\ndog\n"})
    for name in ("val.txt", "p.yaml"):
        dataset = opened(f"yolo:{tmp_path / 'lists' / name}")
        check(dataset, "images/b.png" if len(dataset.keys[0]) < 14 else "valid/images/b.png")
        assert [note for note in dataset.notes if note.startswith("the images in val.txt are in ")]
        with pytest.raises(DataError, match=r"is outside the dataset folder .*\?root=FOLDER"):
            opened(f"yolo:{tmp_path / 'lists' / name}?links=refuse")
        check(opened(f"yolo:{tmp_path / 'lists' / name}?links=refuse&root={tmp_path}"), "pets/valid/images/b.png")
    with pytest.raises(InputError, match="names a list of images; split= chooses one of several, so leave it out"):
        opened(f"yolo:{tmp_path / 'lists/val.txt'}?split=val")


def test_several_descriptions_must_be_chosen_from(tmp_path: Path) -> None:
    root = write(tmp_path, {**SPLITS, "a.yaml": ROBOFLOW, "b.yaml": ROBOFLOW})
    with pytest.raises(InputError, match=r"several files in .* describe datasets: a\.yaml, b\.yaml\. Choose one: yolo:"):
        opened(f"yolo:{root}")
    assert examine(f"yolo:{root / 'a.yaml'}", "detection", workers=0).findings.splits == {"train": 1, "val": 1}


@pytest.mark.parametrize("files", [{"pets.yaml": ROBOFLOW}, {"classes.txt": "cat\ndog\n"}])
def test_all_splits_are_checked_and_converted(tmp_path: Path, files: dict[str, str]) -> None:
    root = write(tmp_path / "pets", {**SPLITS, **files})
    examination = examine(str(root), "detection", workers=0)
    val = "val" if "pets.yaml" in files else "valid"
    assert (examination.findings.splits, examination.findings.classes) == ({"train": 1, val: 1}, {"cat": 0, "dog": 2})
    done = convert(f"yolo:{root}", f"coco:{tmp_path / 'out'}", get_task("detection"))
    assert [opened(data).records[0].target["boxes"].round(3).tolist() for data in done.data] == [[[50, 40, 150, 60]]] * 2
