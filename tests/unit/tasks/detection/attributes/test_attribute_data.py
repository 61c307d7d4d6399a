"""Attributes in annotations: formats, matching with a model, augmentation, conversion, checks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import zoo
from tests.detection_data import annotation, thing, write_voc
from tests.pictures import picture, write_picture
from tests.unit.tasks.detection.attributes.squares import ATTRIBUTES, squares, write_squares
from zoo.cli.main import main
from zoo.data.dataset import Dataset, Sample
from zoo.data.fingerprint import data_fingerprint
from zoo.errors import DataError, InputError
from zoo.images.preprocess import Preprocess
from zoo.models.classes import match_classes
from zoo.task.contract import get_task
from zoo.tasks.detection.attributes import value_text
from zoo.tasks.detection.data.attributes import attribute_counts, attributes_of
from zoo.tasks.detection.data.targets import as_target, relabelled
from zoo.tasks.detection.training.augment import Augment, Scene, paste
from zoo.tasks.detection.training.recipe import DetectionRecipe

TASK = get_task("detection", {"attributes": ATTRIBUTES})


def opened(data: str) -> Dataset:
    return zoo.open_data(data, "detection")


def matched(data: Any, attributes: dict[str, list[str]] | None = None) -> Dataset:
    task = get_task("detection", {"attributes": ATTRIBUTES if attributes is None else attributes})
    dataset = task.open(data)
    return match_classes(task, dataset, dataset.classes)[0]


def values(dataset: Dataset, name: str) -> list[list[Any]]:
    return [attributes_of(record.target)[name].tolist() if len(record.target["boxes"]) else [] for record in dataset.records]


@pytest.mark.parametrize(("value", "text"), [
    ("red", "red"), (" red ", "red"), (True, "true"), (False, "false"), ("True", "true"), (3, "3"), (3.0, "3"), (0.5, "0.5"), (None, ""),
    ("", ""), ("__undefined__", ""), (["red"], "red"), (["red", "blue"], "['red', 'blue']"), ("e\u0301", "é"),
])  # fmt: skip
def test_values_are_texts(value: Any, text: str) -> None:
    assert value_text(value) == text


def test_attributes_of_coco_are_read_as_cvat_writes_them(tmp_path: Path) -> None:
    data = opened(f"coco:{write_squares(tmp_path)}")
    assert values(data, "colour") == [["blue", "green"], ["green", "red"], ["red", "blue"], ["blue", "green"], ["green", "red"], []]
    assert values(data, "marked") == [["true", ""], ["false", ""], ["true", ""], ["false", ""], ["true", ""], []]
    assert values(data, "rotation")[0] == ["0", "0"]
    counts = attribute_counts(record.target for record in data.records)
    assert {name: dict(found) for name, found in counts.items()} == {
        "colour": {"blue": 3, "green": 4, "red": 3}, "occluded": {"false": 10}, "rotation": {"0": 10}, "marked": {"true": 3, "false": 2},
    }  # fmt: skip


def test_attributes_of_an_annotation_must_be_an_object(tmp_path: Path) -> None:
    images = squares(3)
    images[0][1]["attributes"] = ["red"]
    with pytest.raises(DataError, match=r"annotation id 11: attributes is \['red'\]; expected an object with names and values"):
        opened(f"coco:{write_squares(tmp_path, images)}")


def test_attributes_of_voc_are_elements_of_the_object(tmp_path: Path) -> None:
    listed = {"Colour": "red", "wet": "True"}.items()
    each = "".join(f"<attribute><name>{name}</name><value>{value}</value></attribute>" for name, value in listed)
    pairs = f"<attributes>{each}</attributes>"
    first = thing("cat").replace("<bndbox>", f"<pose>Left</pose><truncated>1</truncated>{pairs}<bndbox>")
    data = opened(f"voc:{write_voc(tmp_path, a=annotation(objects=first + thing('dog')))}")
    found = attributes_of(data.records[0].target)
    assert {name: each.tolist() for name, each in found.items()} == {
        "pose": ["Left", ""], "truncated": ["1", ""], "Colour": ["red", ""], "wet": ["true", ""],
    }  # fmt: skip


def table(folder: Path, *rows: str, header: str = "path,xmin,ymin,xmax,ymax,label,colour,wet") -> Path:
    write_picture(folder / "a.png", picture((90, 90, 90), size_hw=(30, 40)))
    write_picture(folder / "b.png", picture((90, 90, 90), size_hw=(30, 40)))
    (folder / "boxes.csv").write_text("\n".join((header, *rows)) + "\n")
    return folder / "boxes.csv"


def test_attributes_of_a_table_are_its_other_columns(tmp_path: Path) -> None:
    file = table(tmp_path, "a.png,1,1,9,9,cat,red,1", "a.png,2,2,9,9,dog,,0", "b.png,,,,,,,")
    data = opened(f"csv:{file}")
    assert values(data, "colour") == [["red", ""], []]
    assert values(data, "wet") == [["1", "0"], []]
    assert data.notes == ()
    wrong = table(tmp_path, "a.png,1,1,9,9,cat,1", header="path,xmin,ymin,xmax,ymax,label,dificult")
    with pytest.raises(DataError, match="unknown column 'dificult'; did you mean 'difficult'"):
        opened(f"csv:{wrong}")


def test_attributes_of_a_parquet_table(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    arrow = pytest.importorskip("pyarrow")
    table(tmp_path)
    columns = {"path": ["a.png"], "xmin": [1], "ymin": [1], "xmax": [9], "ymax": [9], "label": ["cat"], "colour": ["red"], "wet": [True]}
    parquet.write_table(arrow.table(columns), tmp_path / "boxes.parquet")
    data = opened(f"csv:{tmp_path / 'boxes.parquet'}")
    assert (values(data, "colour"), values(data, "wet")) == ([["red"]], [["true"]])


def test_values_are_matched_by_name(tmp_path: Path) -> None:
    """In any order; unknown values are -1, other attributes stay as they are, and every image has all attributes."""
    data = matched(f"coco:{write_squares(tmp_path)}")
    assert values(data, "colour") == [[2, 1], [1, 0], [0, 2], [2, 1], [1, 0], []]
    assert values(data, "marked") == [[1, -1], [0, -1], [1, -1], [0, -1], [1, -1], []]
    assert data.records[-1].target["attribute:colour"].dtype == np.int64
    assert values(data, "occluded")[0] == ["false", "false"]
    other = matched(f"coco:{tmp_path}", {"marked": ["true", "false"], "colour": ["blue", "red", "green", "black"]})
    assert values(other, "colour")[:2] == [[0, 2], [2, 1]]
    assert values(other, "marked")[:2] == [[0, -1], [1, -1]]
    again, _ = match_classes(TASK, data, data.classes)
    assert values(again, "colour") == values(data, "colour")


def test_a_value_nobody_declared_is_named(tmp_path: Path) -> None:
    images = squares(3)
    images[1][0]["attributes"]["colour"] = "gren"
    data = f"coco:{write_squares(tmp_path, images)}"
    message = (
        rf"data '{data}': 1 value of attributes in {tmp_path}/annotations/instances_default.json that the model doesn't declare:\n"
        r"  1.png: instances_default.json: annotation id 12: the attribute 'colour' is 'gren'; the model declares red, green, blue. "
        r"Nearest: green\n"
        r"Correct the annotations, or declare the values with attributes= \(--attributes\)"
    )
    with pytest.raises(DataError, match=message):
        matched(data)
    with pytest.raises(DataError, match=r"boxes.csv.*\n  a.png: box 2: the attribute 'wet' is 'maybe'; the model declares 0, 1"):
        matched(f"csv:{table(tmp_path, 'a.png,1,1,9,9,cat,red,1', 'a.png,2,2,9,9,dog,,maybe')}", {"wet": ["0", "1"]})


def test_training_needs_boxes_with_the_attribute(tmp_path: Path) -> None:
    data = matched(f"coco:{write_squares(tmp_path)}", {"colour": ["red", "green", "blue"], "shape": ["round", "square"]})
    task = get_task("detection", {"attributes": {"colour": ["red", "green", "blue"], "shape": ["round", "square"]}})
    message = r"no box has a value of the attribute 'shape', so it can't be learned.*attributes are: marked \(true, false\)"
    with pytest.raises(InputError, match=message):
        task.data.check_training(data)
    assert TASK.data.check_training(matched(f"coco:{tmp_path}")) == []
    (note,) = get_task("detection").data.check_training(opened(f"coco:{tmp_path}"))
    ignored = "the data has attributes that the model ignores: colour (blue, green, red), marked (true, false)"
    assert note == f"{ignored}; --attributes declares attributes to predict"


def test_samples_in_memory_have_attributes_as_texts_or_booleans() -> None:
    target = {"boxes": [[1, 1, 9, 9], [2, 2, 9, 9]], "labels": [0, 1], "attribute:colour": ["red", None], "attribute:marked": [True, False]}
    samples = [Sample(np.zeros((10, 10, 3), np.uint8), target, "s")]
    task = get_task("detection", {"attributes": ATTRIBUTES})
    dataset = task.open(samples)
    assert data_fingerprint(dataset) == data_fingerprint(
        task.open([Sample(samples[0].image, {**target, "attribute:colour": ["red", None]}, "s")])
    )
    data, _ = match_classes(task, dataset, ("cup", "box"))
    assert (values(data, "colour"), values(data, "marked")) == ([[0, -1]], [[1, 0]])
    with pytest.raises(InputError, match="the target has 2 boxes and 1 attribute:colour; expected equal numbers"):
        as_target({**target, "attribute:colour": ["red"]}, "s")


def test_batches_have_the_attributes_of_the_model_alone(tmp_path: Path) -> None:
    data = matched(f"coco:{write_squares(tmp_path)}")
    (target,) = TASK.data.collate_targets([data.records[0].target])
    assert {name: each.tolist() for name, each in target.items() if name.startswith("attribute")} == {
        "attribute:colour": [2, 1], "attribute:marked": [1, -1],
    }  # fmt: skip
    (plain,) = get_task("detection").data.collate_targets([opened(f"coco:{tmp_path}").records[0].target])
    assert not any(name.startswith("attribute") for name in plain)


def test_rows_stay_together_when_classes_are_dropped() -> None:
    target = {"boxes": [[1, 1, 9, 9], [2, 2, 9, 9], [3, 3, 9, 9]], "labels": [0, 1, 0], "attribute:colour": ["red", "blue", "green"]}
    assert relabelled(target, [None, 0])["attribute:colour"].tolist() == ["blue"]


@pytest.mark.parametrize("seed", range(4))
def test_rows_stay_together_in_augmentation(tmp_path: Path, seed: int) -> None:
    """Every object is a square of its colour, so that the pixels at its box tell its attribute."""
    data = matched(f"coco:{write_squares(tmp_path)}")
    recipe = DetectionRecipe(flip=0.5, flip_vertical=0.5, light=0, jitter_min=0.3, jitter_max=3.0)
    augment = Augment(recipe, Preprocess("fit", (48, 64)), data)
    torch.manual_seed(seed)
    seen = 0
    for sample in data:
        changed = augment(sample)
        boxes, colours = changed.target["boxes"], changed.target["attribute:colour"]
        assert len(boxes) == len(colours) == len(changed.target["attribute:marked"])
        for (left, top, right, bottom), colour in zip(boxes.tolist(), colours.tolist(), strict=True):
            pixel = changed.image[int((top + bottom) / 2), int((left + right) / 2)]
            assert int(pixel.argmax()) == colour
            seen += 1
    assert seen > 3


def test_pasted_objects_bring_their_attributes() -> None:
    def scene(colour: int, left: int) -> Scene:
        image = np.full((40, 60, 3), 50 * colour, np.uint8)
        target = {"boxes": [[left, 10, left + 10, 20]], "labels": [0], "attribute:colour": np.array([colour])}
        masks = torch.zeros(1, 40, 60, dtype=torch.bool)
        masks[0, 10:20, left : left + 10] = True
        return Scene.of(Sample(image, target, "s"), masks)

    torch.manual_seed(0)
    found = [paste(scene(1, 0), scene(2, 30)) for _ in range(8)]
    assert {len(each.boxes) for each in found} == {1, 2}
    for each in found:
        assert each.fields["attribute:colour"].tolist() == [1, 2][: len(each.boxes)]


@pytest.mark.parametrize("form", ["coco", "voc", "csv"])
def test_conversion_keeps_attributes(tmp_path: Path, form: str, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_squares(tmp_path / "data")
    assert main(["data", "convert", f"coco:{data}", f"{form}:{tmp_path / 'new'}", "--json"]) == 0
    (new,) = json.loads(capsys.readouterr().out)["data"]
    before, after = opened(f"coco:{data}"), opened(new)
    for name in ("colour", "marked", "occluded", "rotation"):
        assert values(after, name) == values(before, name)


def test_losses_of_a_conversion_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_squares(tmp_path / "data")
    assert main(["data", "convert", f"coco:{data}", f"yolo:{tmp_path / 'new'}"]) == 2
    assert "the boxes have attributes (colour, marked): they are dropped" in capsys.readouterr().err
    assert main(["data", "convert", f"coco:{data}", f"yolo:{tmp_path / 'new'}", "--lossy"]) == 0
    images = squares(3)
    images[0][0]["attributes"]["area"] = "a"
    write_squares(tmp_path / "other", images)
    assert main(["data", "convert", f"coco:{tmp_path / 'other'}", f"csv:{tmp_path / 'table'}"]) == 2
    assert "the attribute 'area' has the name of another column" in capsys.readouterr().err
    assert main(["data", "convert", f"coco:{tmp_path / 'other'}", f"csv:{tmp_path / 'table'}", "--lossy"]) == 0
    assert values(opened(f"csv:{tmp_path / 'table' / 'annotations.csv'}"), "colour")[0] == ["blue", "green"]


def test_a_split_keeps_attributes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_squares(tmp_path / "data")
    assert main(["data", "split", f"coco:{data}", str(tmp_path / "parts"), "--parts", "train=4,val=2", "--json"]) == 0
    parts = json.loads(capsys.readouterr().out)["data"].values()
    colours = {
        record.key: attributes_of(record.target)["colour"].tolist()
        for part in parts
        for record in opened(part).records
        if len(record.target["boxes"])
    }
    assert colours == {
        record.key: found
        for record, found in zip(opened(f"coco:{data}").records, values(opened(f"coco:{data}"), "colour"), strict=True)
        if found
    }


def test_a_check_counts_values_and_reports_spellings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = squares(5)
    images[0][0]["attributes"]["colour"] = "Blue"
    data = write_squares(tmp_path / "data", images)
    assert main(["data", "check", f"coco:{data}", "--json", "--report", str(tmp_path / "report.html")]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["attributes"] == {
        "colour": {"green": 3, "red": 2, "blue": 2, "Blue": 1}, "marked": {"true": 2, "false": 2, "(unknown)": 4},
    }  # fmt: skip
    (finding,) = (each for each in found["findings"] if each["kind"] == "attribute")
    assert finding["text"] == "has values that differ only in spelling: 'Blue', 'blue'"
    assert "Attribute colour" in (tmp_path / "report.html").read_text()
    main(["data", "check", f"coco:{data}"])
    assert "attribute marked: true 2, false 2, (unknown) 4\n" in capsys.readouterr().out


def test_a_check_reports_values_that_are_not_trained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    header = "path,xmin,ymin,xmax,ymax,label,split,colour"
    table(tmp_path, "a.png,1,1,9,9,cat,train,red", "a.png,2,2,9,9,cat,train,blue", "b.png,2,2,9,9,cat,val,green", header=header)
    main(["data", "check", f"csv:{tmp_path / 'boxes.csv'}", "--json"])
    found = json.loads(capsys.readouterr().out)["findings"]
    texts = [each["text"] for each in found if each["kind"] == "attribute"]
    assert texts == ["has the value 'green' in the split val but not in training: it can't be learned"]


def test_samples_are_shown_with_their_values(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from zoo.curation.show import originals

    data = opened(f"coco:{write_squares(tmp_path)}")
    assert originals(data, ["0.png"], TASK)["0.png"].details == ("blue, false, 0, true", "green, false, 0")
    assert main(["data", "show", f"coco:{tmp_path}", "--out", str(tmp_path / "show.png"), "--n", "2"]) == 0
