"""`hf:`: datasets written by the library itself: columns, splits, labels, and errors."""

from __future__ import annotations

import builtins
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.pictures import picture
from zoo.data.dataset import Dataset, OnError
from zoo.data.formats import open_data
from zoo.errors import DataError, ImageError, InputError
from zoo.tasks.classification.datasets import SCHEMES

hf = pytest.importorskip("datasets", reason="needs the extra [hf]")


def opened(data: object, on_error: OnError = "raise", say: Any = None) -> Dataset:
    return open_data(data, SCHEMES, "classification", on_error, say)


def encoded(seed: int) -> dict[str, Any]:
    return {"bytes": cv2.imencode(".png", picture((0, 0, 90), seed, (7, 6))[:, :, ::-1])[1].tobytes(), "path": None}


def table(labels: list[Any], label: Any = None, **more: Any) -> Any:
    features = {
        "image": hf.Image(),
        "label": label or hf.ClassLabel(names=["dog", "cat"]),
        **{name: feature for name, (feature, _) in more.items()},
    }
    columns = {"image": [encoded(index) for index in range(len(labels))], "label": labels}
    return hf.Dataset.from_dict(columns | {name: values for name, (_, values) in more.items()}, features=hf.Features(features))


def save(data: Any, folder: Path) -> Path:
    (hf.DatasetDict(data) if isinstance(data, Mapping) else data).save_to_disk(str(folder))
    return folder


def test_pictures_and_class_labels(tmp_path: Path) -> None:
    dataset = opened(f"hf:{save(table([1, 0, 1]), tmp_path / 'a')}")
    assert dataset.classes == ("dog", "cat")
    assert [record.target for record in dataset.records] == [1, 0, 1]
    assert dataset.keys == ("000000", "000001", "000002")
    np.testing.assert_array_equal(dataset[2].image, picture((0, 0, 90), 2, (7, 6)))


@pytest.mark.parametrize(
    ("kind", "labels", "classes"),
    [("string", ["b", "a", "b"], ("a", "b")), ("int64", [10, 9, 10], ("9", "10")), ("bool", [True, False, True], ("False", "True"))],
)
def test_plain_labels_are_sorted(tmp_path: Path, kind: str, labels: list[Any], classes: tuple[str, ...]) -> None:
    dataset = opened(f"hf:{save(table(labels, hf.Value(kind)), tmp_path / 'a')}")
    assert dataset.classes == classes
    assert [record.target for record in dataset.records] == [1, 0, 1]


@pytest.mark.parametrize("kind", ["float32", "float64", "string"])
def test_labels_that_pandas_wrote_as_fractions(tmp_path: Path, kind: str) -> None:
    labels = ["10.0", "9.0"] if kind == "string" else [10.0, 9.0]
    said: list[str] = []
    dataset = opened(f"hf:{save(table(labels, hf.Value(kind)), tmp_path / 'a')}", say=said.append)
    assert [dataset.classes[record.target] for record in dataset.records] == ["10", "9"]
    assert "labels are read as 10 instead of 10.0" in said[0]
    if kind != "string":
        with pytest.raises(DataError, match="000001: label is None; expected a class"):
            opened(f"hf:{save(table([1.0, float('nan')], hf.Value(kind)), tmp_path / 'b')}")


def test_several_labels_point_to_multi_label_classification(tmp_path: Path) -> None:
    folder = save(table(["dog", "cat dog"], hf.Value("string")), tmp_path / "a")
    words = (
        r"000001: the label 'cat dog' looks like several labels \(cat, dog\), but .* write a column of lists instead of text, .*\?classes="
    )
    with pytest.raises(DataError, match=words):
        opened(f"hf:{folder}")
    assert opened(f"hf:{folder}?classes=dog,cat dog").classes == ("dog", "cat dog")
    folder = save(table([["dog"], ["cat", "dog"]], hf.List(hf.Value("string"))), tmp_path / "b")
    with pytest.raises(InputError, match=r"the label column was not found; for columns with several .* multi_label=True \(--multi-label\)"):
        opened(f"hf:{folder}")


def test_a_folder_with_metadata_names_the_other_format(tmp_path: Path) -> None:
    (tmp_path / "metadata.csv").write_text("file_name,label\n")
    with pytest.raises(DataError, match=r"was not written by save_to_disk; .* Open its table of images with csv:.*/metadata\.csv"):
        opened(f"hf:{tmp_path}")


def test_splits(tmp_path: Path) -> None:
    folder = save({"train": table([0, 1]), "test": table([1])}, tmp_path / "a")
    assert len(opened(f"hf:{folder}?split=test")) == 1
    with pytest.raises(InputError, match=r"has the splits train, test; choose one with \?split=train"):
        opened(f"hf:{folder}")
    with pytest.raises(InputError, match="no split 'val'; its splits are: train, test"):
        opened(f"hf:{folder}?split=val")
    assert len(opened(f"hf:{save({'only': table([0, 1])}, tmp_path / 'b')}")) == 2
    with pytest.raises(InputError, match="no split 'val'; the data has no splits"):
        opened(f"hf:{save(table([0]), tmp_path / 'c')}?split=val")
    assert len(opened(f"hf:{folder / 'train'}")) == 2


def test_classes_limit_and_a_bare_path(tmp_path: Path) -> None:
    folder = save(table([1, 0, 1, 1]), tmp_path / "a")
    assert opened(f"hf:{folder}?classes=cat&limit=2").keys == ("000000", "000002")
    said: list[str] = []
    opened(folder, say=said.append)
    assert "recognised as hf, because it was written by save_to_disk" in said[0]


def test_columns(tmp_path: Path) -> None:
    more = {"fine": (hf.ClassLabel(names=["x", "y"]), [1, 1]), "note": (hf.Value("string"), ["p", "q"])}
    folder = save(table([0, 1], **more), tmp_path / "a")
    with pytest.raises(
        InputError, match=r"the label column could be label, fine; select it with label=\. The columns are: image \(Image\), label"
    ):
        opened(f"hf:{folder}")
    assert opened(f"hf:{folder}?label=fine").classes == ("x", "y")
    assert opened(f"hf:{folder}?label=note&image=image").classes == ("p", "q")
    with pytest.raises(InputError, match="label is 'image', which is not a suitable column"):
        opened(f"hf:{folder}?label=image")
    with pytest.raises(InputError, match="image is 'photo', which is not a suitable column"):
        opened(f"hf:{folder}?image=photo")
    with pytest.raises(InputError, match="the image column was not found; select it with image="):
        opened(f"hf:{save(table([0]).remove_columns('image'), tmp_path / 'b')}")


def test_samples_without_label_or_picture(tmp_path: Path) -> None:
    folder = save(table([1, None, -1]), tmp_path / "a")
    with pytest.raises(DataError, match=r"2 errors(.|\n)*000001: label is None; expected a class\n  000002: label is -1"):
        opened(f"hf:{folder}")
    assert opened(f"hf:{folder}", "skip").keys == ("000000",)
    data = hf.Dataset.from_dict(
        {"image": [None, {"bytes": b"no", "path": None}], "label": ["a", "b"]},
        features=hf.Features({"image": hf.Image(), "label": hf.Value("string")}),
    )
    dataset = opened(f"hf:{save(data, tmp_path / 'b')}")
    with pytest.raises(ImageError, match="000000: has no image in the table"):
        dataset[0]
    with pytest.raises(ImageError, match=r"hf:.* 000001: "):
        dataset[1]


def test_folders_of_other_kinds_and_damage(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"was not written by save_to_disk; expected it to contain dataset_dict\.json or state\.json"):
        opened(f"hf:{tmp_path}")
    with pytest.raises(InputError, match="names no dataset; expected hf:name or hf:folder"):
        opened("hf:")
    folder = save(table([0, 1]), tmp_path / "a")
    state = json.loads((folder / "state.json").read_text())
    (file,) = folder.glob("*.arrow")
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(DataError, match="can't be opened: "):
        opened(f"hf:{folder}")
    state["_data_files"] = [{"filename": "../secret.arrow"}]
    (folder / "state.json").write_text(json.dumps(state))
    with pytest.raises(DataError, match=r"state\.json: the data file '\.\./secret\.arrow' is outside the dataset folder"):
        opened(f"hf:{folder}")
    (folder / "state.json").write_text("{")
    with pytest.raises(DataError, match="can't be opened: JSONDecodeError"):
        opened(f"hf:{folder}")


def test_a_name_goes_to_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str | None]] = []

    def load(name: str, config: str | None) -> Any:
        asked.append((name, config))
        if name == "none/such":
            raise hf.exceptions.DatasetNotFoundError("Dataset 'none/such' doesn't exist on the Hub")
        return {"train": table([0, 1])}

    monkeypatch.setattr(hf, "load_dataset", load)
    assert len(opened("hf:owner/name?split=train&config=small")) == 2
    with pytest.raises(DataError, match="can't be opened: DatasetNotFoundError: Dataset 'none/such' doesn't exist"):
        opened("hf:none/such")
    assert asked == [("owner/name", "small"), ("none/such", None)]


def test_without_the_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name == "datasets":
            raise ImportError(name)
        return original(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match=r"needs the library datasets\. Install it with: pip install 'resnet-zoo\[hf\]'"):
        opened("hf:owner/name")
