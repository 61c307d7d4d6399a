"""`hf:` with several labels per image: lists of labels, and a column for each class."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zoo.cli.main import main
from zoo.data.dataset import Dataset
from zoo.errors import DataError, InputError
from zoo.task.contract import get_task

hf = pytest.importorskip("datasets", reason="needs the extra [hf]")
NAN = np.nan


def saved(folder: Path, **columns: tuple[list[Any], Any]) -> str:
    """Save a dataset with images and these columns, given as values and feature, and return its dataset string."""
    from tests.unit.tasks.classification.test_scheme_hf import encoded

    count = len(next(iter(columns.values()))[0])
    features = hf.Features({"image": hf.Image(), **{name: feature for name, (_, feature) in columns.items()}})
    values = {"image": [encoded(index) for index in range(count)], **{name: rows for name, (rows, _) in columns.items()}}
    hf.Dataset.from_dict(values, features=features).save_to_disk(str(folder))
    return f"hf:{folder}"


def opened(data: str, on_error: Any = "raise") -> Dataset:
    return get_task("classification", {"multi_label": True}).open(data, on_error)


def targets(dataset: Dataset) -> list[list[float]]:
    return [record.target.tolist() for record in dataset.records]


@pytest.mark.parametrize(
    ("rows", "feature", "classes", "expected"),
    [
        ([[1], [], [0, 1]], lambda: hf.ClassLabel(names=["dog", "cat"]), ("dog", "cat"), [[0, 1], [0, 0], [1, 1]]),
        ([["b"], [], ["b", "a"]], lambda: hf.Value("string"), ("a", "b"), [[0, 1], [0, 0], [1, 1]]),
        ([[10], [], [9, 10]], lambda: hf.Value("int64"), ("9", "10"), [[0, 1], [0, 0], [1, 1]]),
    ],
)
def test_lists_of_labels(tmp_path: Path, rows: Any, feature: Any, classes: Any, expected: Any) -> None:
    data = saved(tmp_path / "a", tags=(rows, hf.List(feature())), label=([0, 1, 0], hf.ClassLabel(names=["x", "y"])))
    dataset = opened(data)
    assert (dataset.classes, targets(dataset)) == (classes, expected)
    assert dataset[2].image.shape == (7, 6, 3)
    assert targets(opened(f"{data}?classes={classes[1]}")) == [[row[1]] for row in expected]
    one = opened(f"{data}?label=label")
    assert (one.classes, targets(one)) == (("x", "y"), [[1, 0], [0, 1], [1, 0]])


def test_labels_that_are_no_classes_are_named_by_row(tmp_path: Path) -> None:
    data = saved(tmp_path / "a", tags=([[1], None, [-1], [0]], hf.List(hf.ClassLabel(names=["dog", "cat"]))))
    with pytest.raises(DataError, match=r"000001: tags is None; expected a list of classes.*\n  000002: tags is \[-1\]; expected a list"):
        opened(data)
    found = opened(data, "skip")
    assert (found.keys, [fault.kind for fault in found.skipped]) == (("000000", "000003"), ["unknown-label"] * 2)
    data = saved(tmp_path / "b", one=([["a"]], hf.List(hf.Value("string"))), two=([["b"]], hf.List(hf.Value("string"))))
    with pytest.raises(InputError, match="the labels could be one, two; select the column with label="):
        opened(data)
    assert opened(f"{data}?label=two").classes == ("b",)


def test_a_column_per_class(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    columns: dict[str, tuple[list[Any], Any]] = {"cat": ([1, 0, None], hf.Value("int64")), "dog": ([True, None, False], hf.Value("bool"))}
    columns["eel"] = ([0.0, 1.0, float("nan")], hf.Value("float32"))
    dataset = opened(saved(tmp_path / "a", **columns))
    np.testing.assert_array_equal(targets(dataset), [[1, 1, 0], [0, NAN, 1], [NAN, 0, NAN]])
    data = saved(tmp_path / "b", **columns, width=([7, 7, 7], hf.Value("int32")))
    with pytest.raises(DataError, match=r"000000: width is 7; expected 1, 0 or null .* choose the classes with \?classes="):
        opened(data)
    assert targets(opened(f"{data}?classes=eel,cat"))[:2] == [[0, 1], [1, 0]]
    assert main(["data", "check", data, "--multi-label", "--workers", "0", "--json", "--quiet"]) == 1
    assert "width is 7; expected 1, 0 or null (unknown)" in capsys.readouterr().out


def test_one_class_per_image(tmp_path: Path) -> None:
    data = saved(tmp_path / "a", label=([1, 0], hf.ClassLabel(names=["dog", "cat"])), width=([7, 7], hf.Value("int32")))
    assert targets(opened(data)) == [[0, 1], [1, 0]]
    data = saved(tmp_path / "b", label=([5, 3], hf.Value("int64")))
    assert targets(opened(data)) == [[0, 1], [1, 0]]
