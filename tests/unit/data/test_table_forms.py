"""Tables as spreadsheets and other tools write them: separators, encodings, headers, names of images; in every reader of tables."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torchvision.models import ResNet50_Weights

import zoo
from tests.pictures import picture, write_picture
from zoo.curation.check.examination import examine
from zoo.curation.convert import convert
from zoo.data import tables
from zoo.data.classes import whole_numbers
from zoo.data.dataset import Dataset
from zoo.errors import DataError, InputError
from zoo.evaluation.evaluate import evaluate_predictions
from zoo.task.contract import get_task
from zoo.tasks.classification.labels import several_labels
from zoo.tasks.face.prediction import files as embeddings

NAMES = ("0.png", "1.png", "2.png")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for index, name in enumerate(NAMES):
        write_picture(tmp_path / name, picture((9, 9, 9), index, (40, 60)))
    return tmp_path


def opened(path: Path, text: str | bytes, task: str, options: str = "", **more: Any) -> tuple[Dataset, str]:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    said: list[str] = []
    dataset = zoo.open_data(f"csv:{path}{options}", task, say=said.append, **more)
    return dataset, "\n".join(said)


def labels(dataset: Dataset) -> list[tuple[str, str]]:
    return [(record.key, dataset.classes[record.target]) for record in dataset.records]


def boxes(dataset: Dataset) -> list[list[float]]:
    return [box for record in dataset.records for box in record.target["boxes"].tolist()]


BEETLES = [("0.png", "Bär"), ("1.png", "Käfer"), ("2.png", "Bär")]


def semicolons(text: str) -> str:
    return text.replace(",", ";")


@pytest.mark.parametrize(
    ("change", "encoding", "note"),
    [
        (str, "utf-8", ""),
        (str, "utf-8-sig", ""),
        (semicolons, "cp1252", "it isn't UTF-8; it is read in the encoding cp1252 (Windows), such as 'Bär'"),
        (semicolons, "utf-8", "its columns are separated by ';'"),
        (lambda text: text.replace(",", "\t"), "utf-16", ""),
        (lambda text: text.replace(",", "|"), "utf-8", "separated by '|'"),
        (lambda text: "sep=;\r\n" + semicolons(text), "utf-8", "separated by ';'"),
        (lambda text: '"sep=|"\r\n' + text.replace(",", "|"), "utf-8", "separated by '|'"),
        (lambda text: text.replace("path,label", " Path , LABEL "), "utf-8", ""),
        (lambda text: text.replace("\r\n", ",,\r\n") + ",,,\r\n\r\n,,,\r\n", "utf-8", ""),  # empty columns and rows
        (lambda text: text.replace("path", ",path").replace("\r\n", "\r\n7,").removesuffix("7,"), "utf-8", ""),  # row numbers
        (lambda text: text.replace("path,label", "file_name,label"), "utf-8", "read by other names: 'file_name' as path"),
        (lambda text: text.replace("path,label", "Image ID,Category"), "utf-8", "'Image ID' as path, 'Category' as label"),
        (lambda text: text.replace("path,label", "id,breed"), "utf-8", "'id' as path, 'breed' as label"),
        (lambda text: text.replace("path,label", "Image,Id"), "utf-8", "'Image' as path, 'Id' as label"),
        (lambda text: text.removeprefix("path,label\r\n"), "utf-8", "it has no header; its columns are read as path, label"),
        (lambda text: text.replace(".png", ""), "utf-8", "3 images found under another path than in the table, such as '0' as '0.png'"),
        (lambda text: text.replace("\r\n0", "\r\nC:\\data\\0").replace("\r\n1", "\r\n/home/ann/1"), "utf-8", "2 images found under"),
    ],
)
def test_tables_of_classes(folder: Path, change: Callable[[str], str], encoding: str, note: str) -> None:
    text = change("path,label\r\n" + "".join(f"{name},{label}\r\n" for name, label in BEETLES))
    dataset, said = opened(folder / "labels.csv", text.encode(encoding), "classification")
    assert labels(dataset) == BEETLES
    assert note in said
    assert bool(note) == bool(said)
    assert len(examine(f"csv:{folder / 'labels.csv'}", "classification").opened.items) == 3


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("filename,width,height,class,xmin,ymin,xmax,ymax\n0.png,60,40,cat,10,5,30,20\n1.png,60,40,dog,0,0,60,40\n", "'class' as label"),
        (
            "0.png,10,5,30,20,cat\n1.png,0,0,60,40,dog\n2.png,,,,,\n",
            "it has no header; its columns are read as path, xmin, ymin, xmax, ymax",
        ),
        ("0.png,10,5,30,20,cat,60,40\n1.png,0,0,60,40,dog,60,40\n", "ymax, label, width, height"),
        ('image_id,width,height,bbox,label\n0,60,40,"[10.0, 5, 20, 15]",cat\n1,60,40,"[0,0,60,40]",dog\n', "left, top, width, height"),
        ('file,bbox,label\n0.png,"[10, 5, 30, 20]",cat\n1.png,"(0 0 60 40)",dog\n', "boxes are read as left, top, width, height"),
        ('file,bbox,label\n0.png,"[10, 5, 30, 20]",cat\n1.png,"30 20 60 40",dog\n', "boxes are read as left, top, right, bottom"),
        ("image;x;y;w;h;label\n0.png;10,0;5;20;15,0;cat\n1.png;0;0;60;40;dog\n", "written with a decimal comma, such as 10,0"),
        ("path,x,y,width,height,label\n0.png,10,5,20,15,cat\n1.png,0,0,60,40,dog\n", "left, top, width, height"),
        ("path,x_center,y_center,width,height,label\n0.png,20,12.5,20,15,cat\n1.png,30,20,60,40,dog\n", "columns are read by other names"),
        ("ImageID,Source,LabelName,XMin,XMax,YMin,YMax\n0,x,cat,0.16666667,0.5,0.125,0.5\n1,x,dog,0,1,0,1\n", "fractions of the image"),
        ("path,x1,y1,x2,y2,label\n0.png,10,5,30,20,1.0\n1.png,0,0,60,40,2.0\n", "labels such as 1.0 are read as 1"),
        ("path,xmin,ymin,xmax,ymax\n0.png,10,5,30,20\n1.png,0,0,60,40\n", "all boxes are of the class 'object'"),
    ],
)
def test_tables_of_boxes(folder: Path, text: str, note: str) -> None:
    dataset, said = opened(folder / "boxes.csv", text, "detection")
    wide = "30 20 60 40" in text
    second = [30, 20, 60, 40] if wide else [0, 0, 60, 40]
    first = [10, 5, 40, 25] if "(0 0 60 40)" in text else [10, 5, 30, 20]
    np.testing.assert_allclose(boxes(dataset), [first, second], atol=1e-4)
    assert dataset.keys[:2] == NAMES[:2]
    assert [record.target["labels"].tolist() for record in dataset.records[2:]] == [[]] * (len(dataset) - 2)
    assert dataset.classes == (("1", "2") if "1.0" in note else ("object",) if "object" in note else ("cat", "dog"))
    assert note in said
    assert zoo.open_data(folder / "boxes.csv", "detection").keys == dataset.keys  # recognised without the scheme


def test_several_boxes_in_a_cell_and_boxes_that_are_not_numbers(folder: Path) -> None:
    dataset, _ = opened(
        folder / "b.csv", 'id,boxes,label\n0,"[[1, 2, 3, 4], [5, 6, 7, 8]]",cat\n1,"1 2 3 4; 5 6 7 8",cat\n2,[],cat\n', "detection"
    )
    assert boxes(dataset) == [[1, 2, 4, 6], [5, 6, 12, 14]] * 2
    assert len(dataset) == 3
    for cell in ("1 2 3", "1 2 3 4 5 6 7 8", "one 2 3 4"):
        with pytest.raises(DataError, match=rf"line 2: bbox is '{cell}'; expected four numbers, such as \[10, 20, 30, 40\]"):
            opened(folder / "b.csv", f"id,bbox,label\n0,{cell},cat\n", "detection")


def test_columns_that_could_be_several(folder: Path) -> None:
    with pytest.raises(
        DataError, match=r"no column label; .* several columns could be label: category, target; rename the right one to label"
    ):
        opened(folder / "a.csv", "path,category,target\n0.png,a,b\n", "classification")
    assert opened(folder / "a.csv", "path,class_name,class_id\n0.png,a,7\n", "classification")[0].classes == ("a",)
    with pytest.raises(DataError, match=r"no column label; .* 'bbox', 'who', 'where'"):
        opened(folder / "a.csv", 'path,bbox,who,where\n0.png,"[1,2,3,4]",a,b\n', "detection")


@pytest.mark.parametrize(
    ("encoding", "word"), [("cp1251", "Кот"), ("gbk", "狗"), ("cp932", "ネコ"), ("cp949", "고양이"), ("cp1253", "γάτα")]
)
def test_other_encodings_are_not_guessed(folder: Path, encoding: str, word: str) -> None:
    content = f"path,label,split\n0.png,{word},train\n1.png,dog,test\n".encode(encoding)
    with pytest.raises(
        DataError, match=r"is not valid UTF-8 after line 0 .*; save it as UTF-8, or name its encoding, as in \?encoding=cp1251"
    ):
        opened(folder / "a.csv", content, "classification", "?split=train")
    dataset, _ = opened(folder / "a.csv", content, "classification", f"?split=train&encoding={encoding}")
    assert labels(dataset) == [("0.png", word)]
    items = examine(f"csv:{folder / 'a.csv'}?encoding={encoding}", "classification").opened.items
    assert sorted(item.splits for item in items) == [("test",), ("train",)]
    with pytest.raises(InputError, match=r"unknown encoding 'base64'; expected one that Python knows"):
        opened(folder / "a.csv", content, "classification", "?encoding=base64")


def test_a_workbook_is_named(folder: Path) -> None:
    with pytest.raises(DataError, match=r"is a workbook of a spreadsheet program; save its sheet as CSV"):
        opened(folder / "a.csv", b"PK\x03\x04...", "classification")


def test_images_in_a_subfolder_and_names_of_several_images(folder: Path) -> None:
    for part in ("train", "test"):
        write_picture(folder / part / f"{part}.png", picture((9, 9, 9)))
        write_picture(folder / part / "both.png", picture((9, 9, 9)))
    dataset, said = opened(folder / "a.csv", "id,label\ntrain,a\ntest.png,b\n", "classification")
    assert dataset.keys == ("train/train.png", "test/test.png")
    assert "2 images found under another path than in the table, such as 'train' as 'train/train.png'" in said
    with pytest.raises(DataError, match=r"'both' is in several folders: test/both\.png, train/both\.png; choose one with \?root="):
        opened(folder / "a.csv", "id,label\nboth,a\n", "classification")
    write_picture(folder / "0.jpg", picture((9, 9, 9)))
    with pytest.raises(DataError, match=r"'0' could be 0\.jpg or 0\.png; write the suffix in the table"):
        opened(folder / "a.csv", "id,label\n0,a\n", "classification")
    with pytest.raises(DataError, match=r"'train' isn't a file"):
        opened(folder / "a.csv", "id,label\ntrain,a\n", "classification", f"?root={folder}")


def test_names_never_lead_out_of_the_folder(folder: Path) -> None:
    write_picture(folder.parent / "secret.png", picture((9, 9, 9)))
    for name in ("../secret", "..\\secret.png", "a/../../secret", str(folder.parent / "secret.png")):
        with pytest.raises(DataError, match=r"outside the dataset folder|can't be found"):
            opened(folder / "a.csv", f"path,label\n{name},a\n", "classification")


@pytest.mark.parametrize(
    ("cells", "classes"),
    [
        (("0.0", "1.0", "0.0"), ("0", "1")),
        (("0", "1.0", "10"), ("0", "1", "10")),
        (("1.5", "1.0", "2.0"), ("1.0", "1.5", "2.0")),
        (("['cat']", "['dog']", "['cat']"), ("cat", "dog")),
        (("tiger", "tiger shark", "great white shark"), ("great white shark", "tiger", "tiger shark")),
        (("mask", "no mask", "mask"), ("mask", "no mask")),
        (("tench, Tinca tinca", "dog", "dog"), ("dog", "tench, Tinca tinca")),
        (("Paris, France", "Lyon, France", "dog"), ("Lyon, France", "Paris, France", "dog")),
    ],
)
def test_labels(folder: Path, cells: tuple[str, ...], classes: tuple[str, ...]) -> None:
    text = "path\tlabel\n" + "".join(f"{name}\t{cell}\n" for name, cell in zip(NAMES, cells, strict=True))
    assert opened(folder / "a.tsv", text, "classification")[0].classes == classes


@pytest.mark.parametrize(
    ("cells", "parts"),
    [
        (("dog", "cat dog", "dog"), "cat, dog"),
        (("dog", "cat", "cat,dog"), "cat, dog"),
        (("a|b", "b|c", "c|a"), "a, b"),
        (("a;b", "b", "a"), "a, b"),
        (("a, b", "b, c", "c, a"), "a, b"),
        (("['cat', 'dog']", "['cat']", "['dog']"), "cat, dog"),
        (("3 17", "3", "4"), "3, 17"),
    ],
)
def test_several_labels_in_a_cell_point_to_multi_label_classification(folder: Path, cells: tuple[str, ...], parts: str) -> None:
    text = "path\tlabel\n" + "".join(f"{name}\t{cell}\n" for name, cell in zip(NAMES, cells, strict=True))
    words = (
        rf"looks like several labels \({parts}\), but the model predicts one class per image; for several, build it with multi_label=True"
    )
    with pytest.raises(DataError, match=words):
        opened(folder / "a.tsv", text, "classification")
    (folder / "classes.txt").write_text("\n".join(sorted(set(cells))))  # the remedy: they are names of classes
    assert opened(folder / "a.tsv", text, "classification")[0].classes == tuple(sorted(set(cells)))


def test_a_column_per_class(folder: Path) -> None:
    dataset, said = opened(folder / "_classes.csv", "filename, cat, big dog\n0.png, 1, 0\n1.png, 0, 1.0\n", "classification")
    assert labels(dataset) == [("0.png", "cat"), ("1.png", "big dog")]
    assert "each class has a column: cat, big dog" in said
    assert zoo.open_data(folder / "_classes.csv", "classification").keys == dataset.keys
    for cells, message in (("1,1", r"several labels \(cat, dog\), but .* build it with multi_label=True"), ("0,0", "the label is empty")):
        with pytest.raises(DataError, match=message):
            opened(folder / "_classes.csv", f"filename,cat,dog\n0.png,{cells}\n", "classification")
    with pytest.raises(DataError, match=r"line 2: no column label; expected a label, or a column of 0 and 1 for each class"):
        opened(folder / "a.csv", "path,who,where\n0.png,Ann,Rome\n", "classification")


def test_names_of_many_classes_are_no_lists() -> None:
    categories = ResNet50_Weights.IMAGENET1K_V1.meta["categories"]
    assert {"ski", "mask", "ski mask", "maillot tank suit"} <= set(categories)
    assert several_labels(categories) == {}
    assert several_labels([*categories, "3 17"]) == {"3 17": ("3", "17")}


def test_whole_numbers() -> None:
    assert whole_numbers(["1.0", "02.00"]) == {"1.0": "1", "02.00": "02"}
    assert whole_numbers(["1", "2"]) == whole_numbers(["1.0", "x"]) == whole_numbers([]) == {}


def test_predictions(folder: Path) -> None:
    data, _ = opened(folder / "labels.csv", "path,label\n0.png,cat\n1.png,dog\n2.png,cat\n", "classification")
    file = folder / "predictions.csv"
    for text in (
        "key,label\n0.png,cat\n1.png,dog\n2.png,dog\n",
        "image_id;class\n0;cat\n1;dog\n2;dog\n",
        "id,cat,dog\n0,0.9,0.1\nC:\\x\\1.png,0.2,0.8\n2.png,0.3,0.7\n",
        "key;cat;dog\n0.png;0,9;0,1\n1.png;0,2;0,8\n2.png;0,3;0,7\n",
        "0.png,cat\n1.png,dog\n2.png,dog\n",
    ):
        file.write_text(text)
        scores = evaluate_predictions(file, "classification", data, replicates=0)
        assert scores["top1"] == pytest.approx(2 / 3)


def test_embeddings(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = folder / "embeddings.csv"
    file.write_text("image_id;e0;e1\n0;0,5;-1\nC:\\x\\1.png;1,25;2\n2.png;;\n")
    found = embeddings.read(file, NAMES)
    assert [None if row is None else row.tolist() for row in found.values()] == [[0.5, -1], [1.25, 2], None]
    assert "2 images named in another way than in the dataset, such as '0' as '0.png'" in caplog.text
    assert "written with a decimal comma, such as 0,5" in caplog.text


def test_names_of_classes_survive_a_conversion(folder: Path) -> None:
    for name in ("dog", "cat dog", "1.0"):
        write_picture(folder / "data" / name / f"{name}.png", picture((9, 9, 9)))
    done = convert(folder / "data", f"csv:{folder / 'new'}", get_task("classification"))
    dataset = zoo.open_data(done.data[0], "classification")
    assert labels(dataset) == [(f"{name}/{name}.png", name) for name in ("1.0", "cat dog", "dog")]


def test_reading_is_as_before(folder: Path) -> None:
    faults: list[Any] = []
    (folder / "t.csv").write_text("path,label,more\n0.png,a b,1\n")
    (row,) = tables.rows(folder / "t.csv", ("path", "label"), ("split",), faults)
    assert (row.values, row.line, faults) == ({"path": "0.png", "label": "a b", "more": "1"}, "line 2", [])
