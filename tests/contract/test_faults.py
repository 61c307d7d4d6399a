"""Damage in every dataset format: all readers report it with the same kind, whatever their message."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.contract.test_datasets import BOXES, opened, text_of, write_pictures
from zoo.curation.check import KINDS
from zoo.errors import DataError

Damage = tuple[str, Callable[[str], str]]  # file, relative to the fixture's folder, and a function that changes its text


def _json(change: Callable[[dict[str, Any]], Any]) -> Callable[[str], str]:
    def changed(text: str) -> str:
        content = json.loads(text)
        change(content)
        return json.dumps(content)

    return changed


def _entry(part: str, **values: Any) -> Callable[[str], str]:
    return _json(lambda content: content[part][0].update(values))


def _swap(old: str, new: str) -> Callable[[str], str]:
    return lambda text: text.replace(old, new, 1)


DAMAGES: dict[tuple[str, str], dict[str, tuple[Damage, str]]] = {
    ("classification", "csv"): {
        "no label": (("table.csv", _swap(",red", ",")), "unknown-label"),
        "missing": (("table.csv", _swap("red/0", "red/9")), "no-picture"),
        "outside": (("table.csv", _swap("red/0", "../0")), "annotation"),
        "no file": (("table.csv", _swap("red/0.png", "red")), "no-picture"),
        "twice": (("table.csv", _swap("red/0", "red/1")), "repeated-id"),
        "long row": (("table.csv", _swap(",red", ",red,red")), "annotation"),
        "column": (("table.csv", lambda text: text.replace("\n", ",x\n").replace("label,x", "label,splt")), "annotation"),
    },
    ("detection", "csv"): {
        "no label": (("table.csv", _swap("21,cat", "21,")), "unknown-label"),
        "no number": (("table.csv", _swap("2,3,20", "2,x,20")), "annotation"),
        "no area": (("table.csv", _swap("2,3,20", "2,3,2")), "box-no-area"),
        "swapped": (("table.csv", _swap("2,3,20", "22,3,20")), "box-swapped"),
        "outside": (("table.csv", _swap("2,3,20", "2,3,99")), "box-outside"),
        "infinite": (("table.csv", _swap("2,3,20", "2,3,inf")), "annotation"),
        "missing": (("table.csv", _swap("b.png", "z.png")), "no-picture"),
        "no picture": (("table.csv", _swap("b.png", "table.csv")), "unreadable"),
    },
    ("detection", "coco"): {
        "no number": (("instances.json", _entry("annotations", bbox=[1, None, 2, 3])), "annotation"),
        "no area": (("instances.json", _entry("annotations", bbox=[1, 2, 0, 3])), "box-no-area"),
        "swapped": (("instances.json", _entry("annotations", bbox=[9, 2, -5, 3])), "box-swapped"),
        "outside": (("instances.json", _entry("annotations", bbox=[9, 2, 55, 3])), "box-outside"),
        "bad area": (("instances.json", _entry("annotations", area=-1)), "annotation"),
        "category": (("instances.json", _entry("annotations", category_id=5)), "unknown-label"),
        "stray": (("instances.json", _entry("annotations", image_id=77)), "no-picture"),
        "id twice": (("instances.json", _entry("annotations", id=1)), "repeated-id"),
        "image twice": (("instances.json", _entry("images", id=1)), "repeated-id"),
        "missing": (("instances.json", _entry("images", file_name="z.png")), "no-picture"),
        "leaving": (("instances.json", _entry("images", file_name="../z.png")), "no-picture"),
        "no picture": (("instances.json", _entry("images", height=0, file_name="../instances.json")), "unreadable"),
        "resized": (("instances.json", _entry("images", height=7)), "wrong-size"),
    },
    ("detection", "voc"): {
        "no xml": (("Annotations/a.xml", _swap("</annotation>", "")), "annotation"),
        "no name": (("Annotations/a.xml", _swap("<name>cat</name>", "")), "unknown-label"),
        "no number": (("Annotations/a.xml", _swap("<xmin>2", "<xmin>two")), "annotation"),
        "no area": (("Annotations/a.xml", _swap("<xmin>2", "<xmin>20")), "box-no-area"),
        "swapped": (("Annotations/a.xml", _swap("<xmin>2", "<xmin>21")), "box-swapped"),
        "outside": (("Annotations/a.xml", _swap("<xmax>20", "<xmax>99")), "box-outside"),
        "missing": (("Annotations/z.xml", lambda text: "<annotation><filename>z.png</filename></annotation>"), "no-picture"),
        "leaving": (("Annotations/z.xml", lambda text: "<annotation><filename>../z.png</filename></annotation>"), "no-picture"),
        "shared": (("Annotations/z.xml", lambda text: "<annotation><filename>a.png</filename></annotation>"), "repeated-id"),
    },
    ("detection", "yolo"): {
        "class": (("labels/train/a.txt", lambda text: "9 0.5 0.5 0.1 0.1"), "unknown-label"),
        "count": (("labels/train/a.txt", lambda text: "0 0.5 0.5 0.1"), "annotation"),
        "no number": (("labels/train/a.txt", lambda text: "0 0.5 x 0.1 0.1"), "annotation"),
        "not a number": (("labels/train/a.txt", lambda text: "0 0.5 nan 0.1 0.1"), "annotation"),
        "pixels": (("labels/train/a.txt", lambda text: "0 20 12 5 5"), "box-normalised"),
        "beyond": (("labels/train/a.txt", lambda text: "0 1.2 0.5 0.1 0.1"), "box-outside"),
        "outside": (("labels/train/a.txt", lambda text: "0 0.9 0.5 0.9 0.1"), "box-outside"),
        "no area": (("labels/train/a.txt", lambda text: "0 0.9 0.5 0 0.1"), "box-no-area"),
        "no text": (("labels/train/a.txt", lambda text: "\udcff"), "annotation"),
        "stray": (("labels/train/z.txt", lambda text: "0 0.5 0.5 0.1 0.1"), "no-picture"),
        "no picture": (("images/train/a.png", lambda text: "text"), "unreadable"),
    },
    ("face", "lfw"): {
        "missing": (("pairs.txt", _swap("Ann\t1\t2", "Ann\t1\t9")), "bad-pair"),
        "count": (("pairs.txt", _swap("2\t1\n", "2\t2\n")), "bad-pair"),
        "words": (("pairs.txt", _swap("Ann\t1\t2", "Ann\tone\t2")), "bad-pair"),
        "same": (("pairs.txt", _swap("Ann\t1\t2", "Ann\t2\t2")), "bad-pair"),
    },
    ("face", "identities"): {"stray": (("stray.png", lambda text: "text"), "no-annotation")},
}


@pytest.mark.parametrize(
    ("task", "scheme", "name"), [(task, scheme, name) for (task, scheme), damages in DAMAGES.items() for name in damages]
)
def test_damage_is_a_fault_of_a_known_kind(task: str, scheme: str, name: str, tmp_path: Path) -> None:
    """The kind is machine-readable and the same for all readers; the reason is for people."""
    text = text_of(task, scheme, tmp_path)
    (file, change), kind = DAMAGES[task, scheme][name]
    path = tmp_path / file
    before = path.read_bytes().decode("utf-8", "surrogateescape") if path.exists() else ""
    path.write_bytes(change(before).encode("utf-8", "surrogateescape"))
    with pytest.raises(DataError) as caught:
        opened(task, text)
    faults = opened(task, text, "skip").skipped
    assert caught.value.faults == faults
    assert kind in {fault.kind for fault in faults}
    assert {fault.kind for fault in faults} <= set(KINDS)
    for fault in faults:
        assert fault.place in f"{fault.key} {fault.reason}"
        assert (fault.box is not None) == (fault.kind in ("box-no-area", "box-swapped", "box-outside"))


@pytest.mark.parametrize(("task", "scheme"), [("classification", "folder"), ("face", "identities")])
def test_a_folder_without_pictures_is_an_empty_class(task: str, scheme: str, tmp_path: Path) -> None:
    text = text_of(task, scheme, tmp_path)
    (tmp_path / "zzz").mkdir()
    (fault,) = opened(task, text, "skip").skipped
    assert fault.kind == "empty-class"


def test_a_table_row_of_hugging_face_without_a_class(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="the extra [hf] is not installed")
    write_pictures(tmp_path, list(BOXES))
    content = {"image": [str(tmp_path / f"{name}.png") for name in BOXES], "label": ["cat", None, "", "dog"]}
    table = datasets.Dataset.from_dict(content).cast_column("image", datasets.Image())
    table.save_to_disk(str(tmp_path / "saved"))
    assert [fault.kind for fault in opened("classification", f"hf:{tmp_path / 'saved'}", "skip").skipped] == ["unknown-label"] * 2
