"""`voc:`: the folders in which tools keep annotation files and images, and the image that each annotation belongs to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from tests.detection_data import annotation, opened, thing
from tests.pictures import write_picture
from zoo.cli.main import main
from zoo.data.dataset import Dataset
from zoo.errors import DataError, InputError
from zoo.task.contract import get_task


def write(root: Path, files: Mapping[str, str | int]) -> Path:
    """Write annotation files and images; an image of one grey level is given by its number."""
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, int):
            write_picture(root / name, np.full((30, 40, 3), content, np.uint8))
        else:
            (root / name).write_text(content)
    return root


def xml(filename: str | None, number: int = 1, folder: str = "VOC") -> str:
    """Return an annotation for the image of a number, which is the left side of its box."""
    return annotation(filename, thing(box=(number, 2, 30, 22))).replace("<size>", f"<folder>{folder}</folder><size>")


def paired(data: Dataset) -> dict[str, int]:
    """Return the number of each image by key, after checking that its annotation has the same number."""
    numbers = {record.key: int(record.load().image[0, 0, 0]) for record in data.records}
    assert numbers == {record.key: int(record.target["boxes"][0, 0]) for record in data.records}
    return numbers


LAYOUTS: dict[str, tuple[dict[str, str | int], dict[str | None, list[str]]]] = {
    "LabelImg": ({"1.png": 1, "1.xml": xml("1.png"), "2.png": 2, "2.xml": xml("2.png", 2)}, {None: ["1.png", "2.png"]}),
    "LabelImg on Windows": ({"1.PNG": 1, "1.XML": xml(r"C:\me\1.PNG")}, {None: ["1.PNG"]}),
    "classes as folders": ({"cat/1.png": 1, "cat/1.xml": xml("1.png"), "dog/2.png": 2, "dog/2.xml": xml("2.png", 2)},
                           {None: ["cat/1.png", "dog/2.png"]}),
    "Roboflow": ({"train/1.png": 1, "train/1.xml": xml("1.png"), "valid/2.png": 2, "valid/2.xml": xml("2.png", 2)},
                 {"train": ["train/1.png"], "valid": ["valid/2.png"], "val": ["valid/2.png"]}),
    "Kaggle": ({"images/1.png": 1, "annotations/1.xml": xml("1.png")}, {None: ["images/1.png"]}),
    "other names": ({"Images/1.png": 1, "Annotation/1.xml": xml("1.png")}, {None: ["Images/1.png"]}),
    "unknown names": ({"raw/1.png": 1, "SegmentationClass/1.png": 9, "voc_export/1.xml": xml("1.png")}, {None: ["raw/1.png"]}),
    "images above": ({"1.png": 1, "Annotations/1.xml": xml("1.png")}, {None: ["1.png"]}),
    "splits inside": ({"images/train/1.png": 1, "annotations/train/1.xml": xml("1.png"), "images/test/2.png": 2,
                       "annotations/test/2.xml": xml("2.png", 2)}, {"train": ["images/train/1.png"], "test": ["images/test/2.png"]}),
    "splits outside": ({"train/images/1.png": 1, "train/annotations/1.xml": xml("1.png"), "test/JPEGImages/2.png": 2,
                        "test/Annotations/2.xml": xml("2.png", 2)}, {"train": ["train/images/1.png"], "test": ["test/JPEGImages/2.png"]}),
    "TensorFlow's tutorial": ({"images/train/1.png": 1, "images/train/1.xml": xml("1.png"), "images/test/2.png": 2,
                               "images/test/2.xml": xml("2.png", 2)}, {"train": ["images/train/1.png"], "test": ["images/test/2.png"]}),
    "Oxford pets": ({"images/1.png": 1, "images/2.png": 2, "annotations/xmls/1.xml": xml("1.png"),
                     "annotations/trimaps/1.png": 9}, {None: ["images/1.png"]}),
    "sub-folders": ({"JPEGImages/day1/1.png": 1, "Annotations/day1/1.xml": xml("day1/1.png"), "JPEGImages/day2/1.png": 2,
                     "Annotations/day2/1.xml": xml("1.png", 2), "JPEGImages/3.png": 3, "Annotations/3.xml": xml("3.png", 3)},
                    {None: ["JPEGImages/3.png", "JPEGImages/day1/1.png", "JPEGImages/day2/1.png"]}),
    "sub-folders of images only": ({"JPEGImages/day1/1.png": 1, "Annotations/1.xml": xml("1.png", folder="day1")},
                                   {None: ["JPEGImages/day1/1.png"]}),
    "sub-folders in the path only": ({"JPEGImages/day1/1.png": 1, "JPEGImages/day2/1.png": 9, "Annotations/1.xml": xml("1.png").replace(
                                     "<size>", r"<path>C:\me\day1\1.png</path><size>")}, {None: ["JPEGImages/day1/1.png"]}),
    "sub-folders of annotations only": ({"JPEGImages/1.png": 1, "Annotations/day1/1.xml": xml("1.png")}, {None: ["JPEGImages/1.png"]}),
    "VOCdevkit": ({"VOC2007/JPEGImages/1.png": 1, "VOC2007/Annotations/1.xml": xml("1.png"), "VOC2012/JPEGImages/2.png": 2,
                   "VOC2012/Annotations/2.xml": xml("2.png", 2)}, {None: ["VOC2007/JPEGImages/1.png", "VOC2012/JPEGImages/2.png"]}),
    "system files": ({"1.png": 1, "1.xml": xml("1.png"), "._1.xml": "\0", "__MACOSX/1.xml": "\0", "@eaDir/1.png": 9}, {None: ["1.png"]}),
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_are_read_and_recognised(tmp_path: Path, layout: str, capsys: pytest.CaptureFixture[str]) -> None:
    files, splits = LAYOUTS[layout]
    write(tmp_path, files)
    for split, keys in splits.items():
        option = f"?split={split}" if split else ""
        data = opened(f"voc:{tmp_path}{option}")
        assert sorted(paired(data)) == keys
        assert data.classes == ("cat",)
        assert opened(f"{tmp_path}{option}").keys == data.keys
    if None not in splits:
        with pytest.raises(InputError, match=r"has the splits .*; choose one with \?split="):
            opened(f"voc:{tmp_path}")
    main(["data", "check", str(tmp_path), "--json", "--quiet"])  # without a scheme and a task
    found = json.loads(capsys.readouterr().out)
    shown = {key for keys in splits.values() for key in keys}
    assert (found["scheme"], found["task"], found["pictures"]) == ("voc", "detection", len(shown))
    assert not {finding["kind"] for finding in found["findings"]} & {"no-picture", "split", "annotation"}


@pytest.mark.parametrize(("files", "numbers", "note"), [
    # renamed together: the old names don't exist
    ({"1.png": 1, "1.xml": xml("IMG_7.JPG"), "2.png": 2, "2.xml": xml("2.png", 2)}, {"1.png": 1, "2.png": 2},
     "annotations whose <filename> is another name, read with the image of their own name: 1, 1.xml (IMG_7.JPG)"),
    # another suffix, and another computer's path
    ({"1.png": 1, "1.xml": xml("1.jpg"), "2.png": 2, "2.xml": xml(r"D:\\old\\b.jpg", 2)}, {"1.png": 1, "2.png": 2},
     "of their own name: 2, 1.xml (1.jpg), "),
    # numbered from 1 instead of 0: most old names exist, too
    ({"1.png": 1, "1.xml": xml("0.png"), "2.png": 2, "2.xml": xml("1.png", 2), "3.png": 3, "3.xml": xml("2.png", 3)},
     {"1.png": 1, "2.png": 2, "3.png": 3}, "of their own name: 3, 1.xml (0.png), 2.xml (1.png), 3.xml (2.png)"),
    # a copied annotation
    ({"1.png": 1, "1.xml": xml("1.png"), "2.png": 2, "2.xml": xml("1.png", 2)}, {"1.png": 1, "2.png": 2},
     "of their own name: 1, 2.xml (1.png)"),
    # names that lead to the images, as `zoo data convert` writes them
    ({"JPEGImages/a b.png": 1, "Annotations/a_b.xml": xml("a b.png"), "JPEGImages/a_b.png": 2, "Annotations/a_b-1.xml": xml("a_b.png", 2)},
     {"JPEGImages/a b.png": 1, "JPEGImages/a_b.png": 2}, None),
    ({"JPEGImages/1.png": 1, "Annotations/a.xml": xml("1.png"), "JPEGImages/a.png": 9}, {"JPEGImages/1.png": 1},
     "annotations read with the image of their <filename>, although one of their own name exists: 1, Annotations/a.xml (1.png)"),
    ({"JPEGImages/1.png": 1, "Annotations/1.xml": xml("1.png"), "JPEGImages/9.png": 9}, {"JPEGImages/1.png": 1},
     "images without an annotation file, which aren't samples: 1, JPEGImages/9.png"),
    ({"JPEGImages/1.png": 1, "Annotations/1.xml": xml("1.png"), "new/2.png": 2, "new/2.xml": xml("2.png", 2)}, {"JPEGImages/1.png": 1},
     "annotation files outside the folder of annotations, ignored: 1, new/2.xml"),
])  # fmt: skip
def test_the_image_of_an_annotation(tmp_path: Path, files: dict[str, str | int], numbers: dict[str, int], note: str | None) -> None:
    data = opened(f"voc:{write(tmp_path, files)}")
    assert paired(data) == numbers
    assert (not data.notes) if note is None else any(note in line for line in data.notes)


def test_long_names(tmp_path: Path) -> None:
    files: dict[str, str | int] = {
        "1.png": 1,
        "1.xml": xml(f"{'a' * 300}/{'b/' * 3000}1.jpg"),
        "é.png": 2,
        "é.xml": xml(f"{'é' * 300}/2.jpg", 2),
    }
    assert paired(opened(f"voc:{write(tmp_path, files)}")) == {"1.png": 1, "é.png": 2}


def test_an_image_that_two_annotations_name_is_that_of_its_own_name(tmp_path: Path) -> None:
    files: dict[str, str | int] = {"2.png": 2, "1.xml": xml("2.png", 9), "2.xml": xml("2.png", 2), "3.png": 3, "3.xml": xml("3.png", 3)}
    data = opened(f"voc:{write(tmp_path, files)}", "skip")
    assert paired(data) == {"2.png": 2, "3.png": 3}
    assert [str(fault) for fault in data.skipped] == ["1.xml: refers to the image 2.png, which another annotation already uses"]


def test_several_images_of_a_name_are_not_guessed(tmp_path: Path) -> None:
    files: dict[str, str | int] = {"1.png": 1, "1.bmp": 2, "1.xml": xml("old.tif"), "2.png": 3, "2.xml": xml("2.png", 3)}
    with pytest.raises(DataError, match=r"1\.xml: its image old\.tif is missing, and there are several named 1"):
        opened(f"voc:{write(tmp_path, files)}")
    (tmp_path / "1.xml").write_text(xml("old.png"))
    assert paired(opened(f"voc:{tmp_path}")) == {"1.png": 1, "2.png": 3}


def test_splits_beside_other_folders_are_an_error(tmp_path: Path) -> None:
    files: dict[str, str | int] = {"train/1.png": 1, "train/1.xml": xml("1.png"), "more/2.png": 2, "more/2.xml": xml("2.png", 2)}
    with pytest.raises(InputError, match=r"mixes splits \(train\) and other folders \(more\); choose one with \?split=train"):
        opened(f"voc:{write(tmp_path, files)}")
    with pytest.raises(InputError, match=r"no split 'test'; its folders are: train"):
        opened(f"voc:{tmp_path}?split=test")
    assert paired(opened(f"voc:{tmp_path}?split=train")) == {"train/1.png": 1}


def test_linked_folders_of_annotations_and_images(tmp_path: Path) -> None:
    away = write(tmp_path / "away", {"pictures/1.png": 1, "notes/1.xml": xml("1.png")})
    write(tmp_path / "data", {"JPEGImages/0.png": 0, "Annotations/0.xml": xml("0.png", 0)})
    (tmp_path / "data/JPEGImages/more").symlink_to(away / "pictures")
    (tmp_path / "data/Annotations/more").symlink_to(away / "notes")
    assert paired(opened(f"voc:{tmp_path / 'data'}")) == {"JPEGImages/0.png": 0, "JPEGImages/more/1.png": 1}
    (tmp_path / "data/Annotations/9.xml").symlink_to(away / "notes/1.xml")  # an error message would quote it
    (tmp_path / "data/JPEGImages/gone.png").symlink_to(tmp_path / "gone.png")
    data = opened(f"voc:{tmp_path / 'data'}?links=refuse", "skip")
    assert paired(data) == {"JPEGImages/0.png": 0}
    assert {fault.key for fault in data.skipped} == {"Annotations/9.xml", "Annotations/more", "JPEGImages/gone.png", "JPEGImages/more"}


@pytest.mark.parametrize(("layout", "names"), [
    ("LabelImg", ["1.png", "2.png"]),
    ("Kaggle", ["1.png"]),
    ("Roboflow", ["1.png", "2.png"]),
    ("splits inside", ["1.png", "2.png"]),
    ("splits outside", ["1.png", "2.png"]),
    ("sub-folders", ["3.png", "day1/1.png", "day2/1.png"]),
])  # fmt: skip
def test_layouts_are_converted_and_cleaned(tmp_path: Path, layout: str, names: list[str]) -> None:
    source, out = write(tmp_path / "data", LAYOUTS[layout][0]), tmp_path / "out"
    assert main(["data", "convert", str(source), f"voc:{out}", "--quiet"]) == 0
    assert sorted(path.relative_to(out / "JPEGImages").as_posix() for path in (out / "JPEGImages").rglob("*.png")) == names
    assert len(paired(opened(f"voc:{out}"))) == len(names)
    main(["data", "check", f"voc:{source}", "--fix", str(tmp_path / "clean"), "--quiet"])
    written = {path.relative_to(tmp_path / "clean").as_posix() for path in (tmp_path / "clean").rglob("*.xml")}
    assert written == {name for name in LAYOUTS[layout][0] if name.endswith(".xml")}


def test_mixtures_are_an_error_of_every_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "data", {"train/1.png": 1, "train/1.xml": xml("1.png"), "more/2.png": 2, "more/2.xml": xml("2.png", 2)})
    for words in (["check"], ["convert", f"coco:{tmp_path / 'coco'}"], ["show", "--out", str(tmp_path / "show.png")]):
        assert main(["data", words[0], f"voc:{tmp_path / 'data'}", *words[1:]]) == 2
        assert "mixes splits (train) and other folders (more)" in capsys.readouterr().err


def test_the_message_of_another_task_names_the_task_that_reads_the_data(tmp_path: Path) -> None:
    write(tmp_path, {"1.png": 1, "1.xml": xml("1.png")})
    for task in ("classification", "face"):
        expected = rf"no data format of the task {task} .* The task detection recognises it as voc, because it contains 1\.xml"
        with pytest.raises(InputError, match=expected):
            get_task(task).open(str(tmp_path))
