"""`voc:`: the lists in ImageSets/Main and elsewhere, and the names in them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.detection_data import annotation, opened, thing
from tests.pictures import picture, write_picture
from zoo.data.voc.folder import Annotation
from zoo.data.voc.splits import Names, find_lists, split_names
from zoo.errors import DataError


def found(keys: list[str], lines: list[str]) -> list[list[str]]:
    """Return the keys of the annotations of each line of a list."""
    return [[each.key for each in line] for line in Names([Annotation(Path(key), key) for key in keys]).read(lines)]


@pytest.mark.parametrize(("keys", "lines", "expected"), [
    (["Annotations/a.xml", "Annotations/b c.xml"], ["b c", "a"], ["Annotations/b c.xml", "Annotations/a.xml"]),
    (["Annotations/a.xml", "Annotations/b.xml"], ["a.jpg", "b.XML"], ["Annotations/a.xml", "Annotations/b.xml"]),
    (["Annotations/a.xml", "Annotations/a.b.xml"], ["a.b", "a.b.png"], ["Annotations/a.b.xml"] * 2),
    # VOC's lists of a class, of names with spaces, too; Oxford's lists
    (["Annotations/a.xml", "Annotations/b c.xml"], ['"b c"  1', "a -1"], ["Annotations/b c.xml", "Annotations/a.xml"]),
    (["Annotations/leaf.xml", "Annotations/leaf 1.xml"], ["leaf 1", "leaf 1 -1"], ["Annotations/leaf.xml", "Annotations/leaf 1.xml"]),
    (["Annotations/leaf 0.xml", "Annotations/leaf 1.xml"], ["leaf 0", "leaf 1"], ["Annotations/leaf 0.xml", "Annotations/leaf 1.xml"]),
    (["annotations/xmls/cat_1.xml"], ["cat_1 1 1 2"], ["annotations/xmls/cat_1.xml"]),
    # folders, other computers, both files of an image
    (["Annotations/day1/x.xml", "Annotations/day2/x.xml"], ["day2/x", r"day1\x"], ["Annotations/day2/x.xml", "Annotations/day1/x.xml"]),
    (["Annotations/a.xml"], ["/home/me/VOC2007/JPEGImages/a.jpg", r"D:\voc\JPEGImages\a.jpg", "./Annotations/a.xml"],
     ["Annotations/a.xml"] * 3),
    (["annotations/a b.xml", "annotations/c.xml"], ["./images/a b.jpg ./annotations/a b.xml", "images/c.jpg\tannotations/c.xml"],
     ["annotations/a b.xml", "annotations/c.xml"]),
    (["train/images/a.xml"], ["a", "train/a.jpg", "data/train/images/a.jpg"], ["train/images/a.xml"] * 3),
    # another folder is another image
    (["Annotations/train/x.xml"], ["val/x", "../train/x", "y", "x"], [None, None, None, "Annotations/train/x.xml"]),
    (["Annotations/e\u0301.xml"], ["\u00e9"], ["Annotations/e\u0301.xml"]),
    (["Annotations/a.xml"], ["a " + "1 " * 100_000 + "x", "a" + "/a" * 100_000, "a"], [None, None, "Annotations/a.xml"]),
])  # fmt: skip
def test_names_of_lists(keys: list[str], lines: list[str], expected: list[str | None]) -> None:
    assert found(keys, lines) == [[] if key is None else [key] for key in expected]


def write(root: Path, names: list[str], lists: dict[str, str], base: str = "") -> Path:
    for name in names:
        write_picture(root / base / f"JPEGImages/{name}.png", picture((90, 90, 90), size_hw=(30, 40)))
        file = root / base / f"Annotations/{name}.xml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(annotation(f"{name}.png", thing()))
    for name, text in lists.items():
        (root / base / name).parent.mkdir(parents=True, exist_ok=True)
        (root / base / name).write_text(text)
    return root


def test_a_name_of_several_annotations_is_an_error(tmp_path: Path) -> None:
    write(tmp_path, ["day1/x", "day2/x", "day2/y"], {"ImageSets/Main/train.txt": "x\ny\n"})
    message = r"Annotations/x\.xml: is listed in the split, but is the name of several files \(ImageSets/Main/train\.txt line 1\): 2, "
    with pytest.raises(DataError, match=message + r"Annotations/day1/x\.xml, Annotations/day2/x\.xml"):
        opened(f"voc:{tmp_path}?split=train")
    assert opened(f"voc:{tmp_path}?split=train", "skip").keys == ("JPEGImages/day2/y.png",)


def test_places_of_lists(tmp_path: Path) -> None:
    write(tmp_path / "a", ["x", "y"], {"ImageSets/train.txt": "x\n", "ImageSets/cars_old.txt": "y\n"})
    assert opened(f"voc:{tmp_path / 'a'}?split=train").keys == ("JPEGImages/x.png",)
    write(tmp_path / "b", ["x", "y"], {"train.txt": "x\n", "trainval.txt": "x\ny\n", "readme.txt": "hello\n"})
    assert list(find_lists(tmp_path / "b")) == ["train", "trainval"]
    assert opened(f"voc:{tmp_path / 'b'}?split=trainval").keys == ("JPEGImages/x.png", "JPEGImages/y.png")
    assert len(opened(f"voc:{tmp_path / 'b'}")) == 2
    write(tmp_path / "c", ["x"], {"Annotations/test.txt": "x 1 1 1\n"})
    assert opened(f"voc:{tmp_path / 'c'}?split=test").keys == ("JPEGImages/x.png",)


def test_the_lists_of_several_years_are_joined(tmp_path: Path) -> None:
    write(tmp_path, ["x", "y"], {"ImageSets/Main/train.txt": "x\n"}, "VOC2007")
    write(tmp_path, ["x", "z"], {"ImageSets/Main/train.txt": "z\n", "ImageSets/Main/val.txt": "x\n"}, "VOC2012")
    assert opened(f"voc:{tmp_path}?split=train").keys == ("VOC2007/JPEGImages/x.png", "VOC2012/JPEGImages/z.png")
    assert opened(f"voc:{tmp_path}?split=val").keys == ("VOC2012/JPEGImages/x.png",)
    assert split_names(tmp_path) == ["train", "val"]


def test_lists_come_before_folders_of_the_same_name(tmp_path: Path) -> None:
    write(tmp_path, ["train/x", "train/y", "test/z"], {"ImageSets/Main/train.txt": "train/x\n", "ImageSets/Main/default.txt": "train/y\n"})
    assert opened(f"voc:{tmp_path}?split=train").keys == ("JPEGImages/train/x.png",)
    assert opened(f"voc:{tmp_path}?split=default").keys == ("JPEGImages/train/y.png",)
    assert opened(f"voc:{tmp_path}?split=test").keys == ("JPEGImages/test/z.png",)
    assert len(opened(f"voc:{tmp_path}")) == 3
