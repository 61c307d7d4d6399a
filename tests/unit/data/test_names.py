"""Names in Unicode's normal forms: files, classes, tables, lists, XML, JSON, predictions and models written on different systems."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Literal

import pytest

import zoo
from tests.pictures import picture, write_picture
from tests.unit.data.test_folders import READERS, XML
from zoo.data.names import Disk, nfc, unique
from zoo.errors import DataError
from zoo.models.classes import match_classes
from zoo.task.contract import get_task

Form = Literal["NFC", "NFD"]
FORMS: tuple[Form, Form] = ("NFC", "NFD")
COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "Zoë/été") for form in FORMS)


def test_the_normal_form() -> None:
    assert COMPOSED != DECOMPOSED
    assert nfc(DECOMPOSED) == COMPOSED
    assert unique([DECOMPOSED, "a", COMPOSED, "a"]) == [COMPOSED, "a"]


def test_a_file_is_found_as_it_is_spelt_on_disk(tmp_path: Path) -> None:
    (tmp_path / DECOMPOSED).mkdir(parents=True)
    (tmp_path / DECOMPOSED / "a.png").touch()
    assert Disk().find(tmp_path / COMPOSED / "a.png") == str(tmp_path / DECOMPOSED / "a.png")
    for path in (tmp_path / COMPOSED / "b.png", tmp_path / "é" / "a.png", tmp_path / ("é" * 300)):
        assert Path(Disk().find(path)).name == path.name


@pytest.mark.parametrize("on_disk", FORMS)
@pytest.mark.parametrize("reader", ["csv", "boxes", "yolo", "voc", "coco", "lfw"])
def test_annotations_name_files_in_either_form(tmp_path: Path, reader: str, on_disk: Form) -> None:
    """The annotations are in the other form than the names of the files."""
    task, _, annotate = READERS[reader]
    prefix = {"yolo": "images/", "voc": "JPEGImages/"}.get(reader, "")
    names = [
        f"{prefix}{name}"
        for name in (("Zoë/Zoë_0001.jpg", "Zoë/Zoë_0002.jpg", "Bo/Bo_0001.jpg") if reader == "lfw" else ("é.png", "Zoë/ü.png"))
    ]
    for index, name in enumerate(names):
        write_picture(tmp_path / unicodedata.normalize(on_disk, name), picture((index, 0, 0), index, (8, 8)))
    other = FORMS[on_disk == "NFC"]
    if reader == "lfw":
        name = unicodedata.normalize(other, "Zoë")
        (tmp_path / "pairs.txt").write_text(f"1\n{name}\t1\t2\n{name}\t1\tBo\t1\n", encoding="utf-8")
        data = f"lfw:{tmp_path}"
    else:
        data = annotate(tmp_path, [unicodedata.normalize(other, name) for name in names])
    dataset = zoo.open_data(data, task)
    assert sorted(dataset.keys) == sorted(nfc(name) for name in names)
    assert all(record.load().image.shape == (8, 8, 3) for record in dataset.records)
    if task == "detection":
        assert [record.target["labels"].tolist() for record in dataset.records] == [[0]] * 2


@pytest.mark.parametrize("scheme", ["folder", "identities"])
def test_the_classes_of_splits_are_the_same_in_either_form(tmp_path: Path, scheme: str) -> None:
    for split, form in zip(("train", "test"), FORMS, strict=True):
        write_picture(tmp_path / split / unicodedata.normalize(form, "Zoë") / "0.png", picture((9, 9, 9), 0, (8, 8)))
    task = {"folder": "classification", "identities": "face"}[scheme]
    train, test = (zoo.open_data(f"{scheme}:{tmp_path}?split={split}", task) for split in ("train", "test"))
    assert train.classes == test.classes == (nfc("Zoë"),)
    assert test.keys == (nfc("test/Zoë/0.png"),)
    chosen = zoo.open_data(f"{scheme}:{tmp_path}?split=test&classes={unicodedata.normalize('NFD', 'Zoë')}", task)
    assert chosen.classes == (nfc("Zoë"),)


def test_class_names_in_both_forms_are_one_class(tmp_path: Path) -> None:
    first, second = (unicodedata.normalize(form, "Zoë") for form in FORMS)
    for index in range(2):
        write_picture(tmp_path / f"{index}.png", picture((index, 0, 0), index, (8, 8)))
    (tmp_path / "t.csv").write_text(f"path,label\n0.png,{first}\n1.png,{second}\n", encoding="utf-8")
    dataset = zoo.open_data(f"csv:{tmp_path / 't.csv'}", "classification")
    assert (dataset.classes, [record.target for record in dataset.records]) == ((first,), [0, 0])
    (tmp_path / "voc/Annotations").mkdir(parents=True)
    for index, name in enumerate((first, second)):
        write_picture(tmp_path / f"voc/JPEGImages/{index}.png", picture((index, 0, 0), index, (8, 8)))
        (tmp_path / f"voc/Annotations/{index}.xml").write_text(XML.format(f"{index}.png").replace("cat", name), encoding="utf-8")
    dataset = zoo.open_data(f"voc:{tmp_path / 'voc'}", "detection")
    assert (dataset.classes, [record.target["labels"].tolist() for record in dataset.records]) == ((first,), [[0], [0]])


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_predictions_of_another_system_are_matched(tmp_path: Path, suffix: str) -> None:
    for name in ("Zoë", "é"):
        write_picture(tmp_path / "data" / name / "ü.png", picture((9, 9, 9), 0, (8, 8)))
    dataset = zoo.open_data(f"folder:{tmp_path / 'data'}", "classification")
    classes = dataset.classes
    rows = {unicodedata.normalize("NFD", key): [0.25, 0.75] for key in dataset.keys}
    file = tmp_path / f"answers{suffix}"
    other = [unicodedata.normalize("NFD", name) for name in classes]
    if suffix == ".csv":
        lines = [",".join(["key", *other]), *(f"{key},0.25,0.75" for key in rows)]
    else:
        lines = [json.dumps({"key": key, "probabilities": dict(zip(other, row, strict=True))}) for key, row in rows.items()]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    files = get_task("classification").answers.files()
    assert files is not None
    assert list(files.read(file, dataset, classes)) == list(dataset.keys)


def test_a_model_knows_its_classes_in_either_form() -> None:
    model = zoo.build("resnet20", task="classification", classes=[unicodedata.normalize("NFD", "é"), "cat"])
    assert model.classes == ("\u00e9", "cat")
    data = Samples([{"image": picture((9, 9, 9)), "target": 1, "key": "a"}])
    matched, names = match_classes(get_task("classification"), zoo.open_data(data, "classification"), model.classes)
    assert names == model.classes
    assert [record.target for record in matched.records] == [0]


class Samples(list[dict[str, object]]):
    """Samples in memory with class names in the decomposed form."""

    classes = ("cat", unicodedata.normalize("NFD", "é"))


def test_detections_of_another_system_are_matched(tmp_path: Path) -> None:
    task, _, annotate = READERS["coco"]
    write_picture(tmp_path / "é.png", picture((9, 9, 9), 0, (8, 8)))
    data = annotate(tmp_path, ["é.png"]).removeprefix("coco:")
    file = tmp_path / "instances.json"
    file.write_text(file.read_text().replace('"cat"', json.dumps(nfc("ü"))))
    dataset = zoo.open_data(f"coco:{data}", task)
    entries = [
        {
            "image_id": unicodedata.normalize("NFD", "é"),
            "category_id": unicodedata.normalize("NFD", "ü"),
            "bbox": [1, 1, 3, 4],
            "score": 0.5,
        }
    ]
    (tmp_path / "answers.json").write_text(json.dumps(entries))
    answers = get_task(task).answers.files()
    assert answers is not None
    (found,) = answers.read(tmp_path / "answers.json", dataset, dataset.classes).values()
    assert found["labels"].tolist() == [0]
    assert found["boxes"].tolist() == [[1, 1, 4, 5]]


@pytest.mark.parametrize("reader", ["csv", "boxes", "coco"])
def test_annotations_of_windows_name_files_in_another_case(tmp_path: Path, reader: str) -> None:
    task, _, annotate = READERS[reader]
    for index, name in enumerate(("a.jpg", "Sub/B.PNG", "sub/c.png")):
        write_picture(tmp_path / name, picture((index, 0, 0), index, (8, 8)))
    data = annotate(tmp_path, ["A.JPG", "Sub/b.png", "sub/c.png"])
    dataset = zoo.open_data(data, task)
    assert sorted(dataset.keys) == ["Sub/B.PNG", "a.jpg", "sub/c.png"]
    assert len([note for note in dataset.notes if "A.JPG" in note and "a.jpg" in note]) == 1
    write_picture(tmp_path / "a.JPg", picture((9, 0, 0), 9, (8, 8)))
    with pytest.raises(DataError, match=r"A\.JPG"):  # two files differ from the name only in case
        zoo.open_data(data, task)
    write_picture(tmp_path / "A.JPG", picture((9, 0, 0), 10, (8, 8)))
    assert "A.JPG" in zoo.open_data(data, task).keys


def test_lists_of_windows_name_images_in_another_case(tmp_path: Path) -> None:
    write_picture(tmp_path / "images/a.jpg", picture((1, 0, 0), 1, (8, 8)))
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/a.txt").write_text("0 .5 .5 .2 .2\n")
    (tmp_path / "list.txt").write_text("Images/A.JPG\n")
    (tmp_path / "data.yaml").write_text("train: list.txt\nnames: [cat]\n")
    dataset = zoo.open_data(f"yolo:{tmp_path}", "detection")
    assert dataset.keys == ("images/a.jpg",)
    assert dataset.records[0].target["labels"].tolist() == [0]
    assert any("Images/A.JPG as images/a.jpg" in note for note in dataset.notes)
