"""`voc:`: the data it reads, and every annotation error it reports."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.detection_data import annotation, opened, thing, write_voc
from zoo.cli.main import main
from zoo.errors import DataError, InputError


def test_voc_is_read(tmp_path: Path) -> None:
    data = opened(f"voc:{write_voc(tmp_path)}")
    assert (data.classes, data.keys) == (("cat", "dog"), ("JPEGImages/a.png", "JPEGImages/b.png"))
    first, second = (record.target for record in data.records)
    assert first["boxes"].tolist() == [[1, 2, 11, 22]] * 2  # as written: 1 is not subtracted
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
    (annotation(objects=thing(box=(5, 5, 42, 9))), r"outside the image of 40×30"),
    (annotation(objects=thing(box=(5, 5, 42, 9)), size="<width>0</width>"), r"outside the image of 40×30"),
    (annotation(objects=thing(name="")), r"object 1 \(\?\): the object has no name"),
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
    ("<annotations><image><box/></image></annotations>", r"the root element is <annotations>; expected VOC's <annotation>"),
    (annotation("c.png"), r"its image JPEGImages/c.png is missing, and so is one named a"),
    (annotation("../../etc/passwd"), r"its image JPEGImages/../../etc/passwd is missing"),
    (annotation("/etc/passwd"), r"its image JPEGImages//etc/passwd is missing"),
    (annotation(".."), r"filename is '..'; expected the name of an image"),
    (annotation("b.png"), r"refers to the image JPEGImages/b.png, which another annotation already uses"),
])  # fmt: skip
def test_faulty_files_of_voc(tmp_path: Path, content: str, message: str) -> None:
    write_voc(tmp_path, a=content)
    (tmp_path / "JPEGImages/a.png").unlink()
    with pytest.raises(DataError, match=message):
        opened(f"voc:{tmp_path}")
    data = opened(f"voc:{tmp_path}", "skip")
    assert (data.keys, [(fault.key, fault.whole) for fault in data.skipped]) == (("JPEGImages/b.png",), [("Annotations/a.xml", True)])


def test_a_picture_whose_size_can_not_be_read(tmp_path: Path) -> None:
    write_voc(tmp_path, a=annotation(size=""))
    (tmp_path / "JPEGImages" / "a.png").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"Annotations/a.xml: its image a.png "):
        opened(f"voc:{tmp_path}")


def test_a_split_that_names_what_is_not_there(tmp_path: Path) -> None:
    (write_voc(tmp_path) / "ImageSets" / "Main" / "test.txt").write_text("b\n../a\n")
    with pytest.raises(DataError, match=r"Annotations/\.\./a.xml: is listed in the split, but missing from Annotations"):
        opened(f"voc:{tmp_path}?split=test")


def test_lists_and_folders_that_can_not_be_read(tmp_path: Path) -> None:
    (write_voc(tmp_path) / "ImageSets" / "Main" / "test.txt").write_bytes(b"b\n\xff\n")
    with pytest.raises(DataError, match=r"test.txt is not valid UTF-8 \(invalid start byte at byte 2\)"):
        opened(f"voc:{tmp_path}?split=test")
    with pytest.raises(DataError, match=r"has no folder Annotations"):
        opened(f"voc:{tmp_path / 'JPEGImages'}")


def test_blood_cells(shared_data: Path) -> None:
    cells = f"voc:{shared_data / 'bccd'}"
    with pytest.raises(DataError, match=r"2 errors") as caught:
        opened(cells)
    assert [fault.key for fault in caught.value.faults] == ["Annotations/BloodImage_00338.xml", "Annotations/BloodImage_00343.xml"]
    data = opened(cells, "skip")
    assert (len(data), data.classes) == (364, ("Platelets", "RBC", "WBC"))
    assert sum(len(record.target["boxes"]) for record in data.records) == 4886
    assert {split: len(opened(f"{cells}?split={split}", "skip")) for split in ("train", "val", "trainval", "test")} == {
        "train": 205, "val": 87, "trainval": 292, "test": 72,
    }  # fmt: skip


@pytest.mark.parametrize(("outline", "box"), [
    ("<robndbox><cx>20</cx><cy>15</cy><w>10</w><h>4</h><angle>0</angle></robndbox>", [15, 13, 25, 17]),
    ("<robndbox><cx>20</cx><cy>15</cy><w>10</w><h>4</h><angle>1.5707963267948966</angle></robndbox>", [18, 10, 22, 20]),
    ("<robndbox><cx>20</cx><cy>15</cy><w>10</w><h>10</h><angle>0.7853981633974483</angle></robndbox>",
     [20 - 50**0.5, 15 - 50**0.5, 20 + 50**0.5, 15 + 50**0.5]),
    ("<polygon><pt><x>3</x><y>9</y></pt><pt><x>8</x><y>2</y></pt><pt><x>5</x><y>12</y></pt></polygon>", [3, 2, 8, 12]),
    ("<polygon><x1>3</x1><y1>9</y1><x2>8</x2><y2>2</y2><x3>5</x3><y3>12</y3></polygon>", [3, 2, 8, 12]),
])  # fmt: skip
def test_rotated_boxes_and_polygons_of_voc(tmp_path: Path, outline: str, box: list[float]) -> None:
    data = opened(f"voc:{write_voc(tmp_path, a=annotation(objects=f'<object><name>cat</name>{outline}</object>' + thing()))}")
    np.testing.assert_allclose(data.records[0].target["boxes"], np.array([box, [1, 2, 11, 22]]), rtol=1e-6)
    assert data.notes == ("1 object without bndbox, such as in Annotations/a.xml: their boxes enclose their rotated boxes or polygons",)
    main(["data", "check", f"voc:{tmp_path}", "--fix", str(tmp_path / "clean"), "--quiet"])
    assert outline in (tmp_path / "clean/Annotations/a.xml").read_text()  # which isn't a box to clean
    shutil.rmtree(tmp_path / "clean")
    with_box = f"<object><name>cat</name>{outline}<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></object>"
    (tmp_path / "Annotations/a.xml").write_text(annotation(objects=with_box))  # as in Roboflow's exports
    again = opened(f"voc:{tmp_path}")
    assert (again.records[0].target["boxes"].tolist(), again.notes) == ([[1, 1, 9, 9]], ())


def test_outlines_that_are_no_numbers(tmp_path: Path) -> None:
    write_voc(tmp_path, a=annotation(objects="<object><name>cat</name><polygon><x1>a</x1><y1>2</y1></polygon></object>"))
    with pytest.raises(DataError, match=r"a\.xml: object 1 \(cat\): the rotated box or polygon isn't made of numbers"):
        opened(f"voc:{tmp_path}")
