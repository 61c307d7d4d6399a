"""The `hf:` format: a Hugging Face dataset, from the hub or from a folder written by `save_to_disk` (requires the `[hf]` extra)."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from zoo.data.dataset import Dataset, OnError, Record
from zoo.data.formats import DataRef, Scheme, escaped, finish
from zoo.data.tables import SUFFIXES
from zoo.errors import DataError, Fault, ImageError, InputError
from zoo.images import decoding
from zoo.tasks.classification.datasets import SCHEMES
from zoo.tasks.classification.labels import MULTI_LABEL, explain, renamed_labels, several_labels

if TYPE_CHECKING:
    from datasets import Dataset as Table

_SAVED = ("dataset_dict.json", "state.json")  # files of a dataset with several splits, and of a single split
_SEVERAL = "write a column of lists instead of text, and build the model with multi_label=True (--multi-label)"
_PLAIN = ("string", "large_string", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool")


def open_hf(ref: DataRef, on_error: OnError) -> Dataset:
    """Open a Hugging Face dataset. Its images are decoded by the zoo, not by Pillow.

    `image=` and `label=` select the columns if several are suitable. `config=` selects the configuration of a dataset on the hub. The
    label column contains class labels, whose names and order are used, or text or integers, which are sorted.
    """
    return read_one_label(ref, open_table(ref), on_error)


def read_one_label(ref: DataRef, table: Table, on_error: OnError) -> Dataset:
    """Return the dataset of a table with a column of one class per image."""
    image = image_column(ref, table)
    label = _column(ref, table, "label", is_label)
    encoded, columns = read_columns(ref, table, image, [label])
    values = [None if value != value else value for value in columns[label]]  # NaN of float columns
    names = getattr(table.features[label], "names", None)
    if strange := [name for name in names or () if not isinstance(name, str)]:
        raise DataError(f"data {ref.text!r}: the column {label!r} has a class named {strange[0]!r}; expected strings as class names")
    found = {} if names is not None else {str(value): value for value in sorted({each for each in values if each not in (None, "")})}
    known = ref.classes or ()
    whole, note = renamed_labels(found) if not set(found) <= set(known) else ({}, "")
    several = several_labels({whole.get(text, text) for text in found}, known)
    classes = names if names is not None else [whole.get(text, text) for text in found if whole.get(text, text) not in several]
    number = {name: index for index, name in enumerate(classes)}
    records, faults = [], []
    for index, value in enumerate(values):
        key = f"{index:06d}"
        name = label_name(value, names)
        name = None if name is None else whole.get(name, name)
        if name is None or name in several:
            reason = (
                f"{label} is {value!r}; expected a class"
                if name is None
                else explain(name, several, "name all classes with ?classes=", _SEVERAL)
            )
            faults.append(Fault(key, reason, whole=True, kind="unknown-label"))
        else:
            records.append(Record(key, encoded(index), number[name]))
    return finish(ref, records, classes, faults, on_error, notes=[note] if note else [])


def image_column(ref: DataRef, table: Table) -> str:
    """Return the name of the column of images; raise an `InputError` if there is none, or several and `image=` selects none of them."""
    return _column(ref, table, "image", lambda feature: type(feature).__name__ == "Image")


def read_columns(ref: DataRef, table: Table, image: str, names: Sequence[str]) -> tuple[Callable[[int], Encoded], dict[str, list[Any]]]:
    """Return a function that returns the image of a row, and the values of columns by name. Raise a `DataError` for damaged tables."""
    from datasets import Image  # `open_table` has checked that the library is installed

    try:
        values = table.select_columns(list(names))[:]
        encoded = table.cast_column(image, Image(decode=False))
    except _damage() as error:
        raise DataError(f"data {ref.text!r}: the tables of the dataset are damaged: {_short(error)}") from None
    return (lambda index: Encoded(encoded, index, image, f"{ref.text} {index:06d}")), values


def _damage() -> tuple[type[Exception], ...]:
    """Return the exceptions that the library datasets and pyarrow raise for damaged files."""
    import pyarrow as pa

    return (pa.ArrowException, OSError, ValueError, KeyError, TypeError, AttributeError, IndexError)


def open_table(ref: DataRef) -> Table:
    """Open the dataset and return the table of the requested split, after validation."""
    try:
        import datasets  # an optional dependency that takes seconds to import
    except ImportError:
        raise InputError(f"data {ref.text!r} needs the library datasets. Install it with: pip install 'resnet-zoo[hf]'") from None
    if not ref.path:
        raise InputError(f"data {ref.text!r} names no dataset; expected hf:name or hf:folder")
    folder = Path(ref.path).expanduser()
    try:
        if folder.is_dir():
            _check_saved(ref, folder)
            opened = datasets.load_from_disk(str(folder))
        else:
            opened = datasets.load_dataset(ref.path, ref.options.get("config"))
        table = _split(ref, opened)
        table.data.table.validate(full=True)  # pyarrow doesn't validate on opening, and wrong offsets read arbitrary memory
    except InputError:
        raise
    except _damage() as error:
        raise DataError(f"data {ref.text!r} can't be opened: {type(error).__name__}: {_short(error)}") from None
    return table


def _check_saved(ref: DataRef, folder: Path) -> None:
    """Raise a `DataError` unless a folder was written by `save_to_disk` and all its data files lie inside it."""
    if not _recognise(folder):
        tables = sorted(path for path in (*folder.glob("metadata.*"), *folder.glob("*/metadata.*")) if path.suffix in SUFFIXES)
        hint = f". Open its table of images with csv:{escaped(str(tables[0]))}" if tables else ""
        raise DataError(f"data {ref.text!r}: {folder} was not written by save_to_disk; expected it to contain {' or '.join(_SAVED)}{hint}")
    for state in (*folder.glob("state.json"), *folder.glob("*/state.json")):
        for entry in json.loads(state.read_bytes())["_data_files"]:
            name = entry["filename"]
            if Path(name).name != name or (state.parent / name).is_symlink():
                raise DataError(f"{state}: the data file {name!r} is outside the dataset folder")


def _split(ref: DataRef, opened: Any) -> Table:
    if not hasattr(opened, "keys"):
        name = str(opened.split) if opened.split is not None else None
        if ref.split not in (None, name):
            known = f"only split is {name}" if name else "data has no splits"
            raise InputError(f"data {ref.text!r}: no split {ref.split!r}; the {known}")
        return cast("Table", opened)
    names = list(opened)
    if ref.split is None and len(names) > 1:
        raise InputError(f"data {ref.text!r} has the splits {', '.join(names)}; choose one with ?split={names[0]}")
    if ref.split not in (None, *names):
        raise InputError(f"data {ref.text!r}: no split {ref.split!r}; its splits are: {', '.join(names)}")
    return cast("Table", opened[ref.split or names[0]])


def _column(ref: DataRef, table: Table, option: str, fits: Any) -> str:
    """Return the column selected by `image=` or `label=`, or the only suitable one."""
    candidates = [name for name, feature in table.features.items() if fits(feature)]
    if option == "label" and not candidates:  # pandas writes whole numbers as fractions
        candidates = [name for name, feature in table.features.items() if _is_float(feature)]
    if option == "label" and len(candidates) > 1:  # a class label takes precedence over plain text or numbers
        candidates = [name for name in candidates if hasattr(table.features[name], "names")] or candidates
    columns = ", ".join(f"{name} ({type(feature).__name__})" for name, feature in table.features.items())
    given = ref.options.get(option)
    if given is not None:
        suits = given in table.features and (fits(table.features[given]) or (option == "label" and _is_float(table.features[given])))
        if not suits:
            raise InputError(f"data {ref.text!r}: {option} is {given!r}, which is not a suitable column; the columns are: {columns}")
        return given
    if len(candidates) != 1:
        found = f"column could be {', '.join(candidates)}" if candidates else "column was not found"
        if option == "label" and not candidates and any(map(is_list, table.features.values())):
            found += f"; for columns with several labels per image, {MULTI_LABEL}"
        raise InputError(f"data {ref.text!r}: the {option} {found}; select it with {option}=. The columns are: {columns}")
    return str(candidates[0])


def is_list(feature: Any) -> bool:
    """Return whether a column contains a list of labels for each image."""
    return type(feature).__name__ in ("List", "LargeList", "Sequence") and is_label(feature.feature)


def is_label(feature: Any) -> bool:
    """Return whether a column contains class labels, text or integers."""
    return hasattr(feature, "names") or getattr(feature, "dtype", None) in _PLAIN


def _is_float(feature: Any) -> bool:
    return getattr(feature, "dtype", None) in ("float16", "float32", "float64")


def label_name(value: Any, names: list[str] | None) -> str | None:
    """Return the class name of a label, or None if the class is unknown, which the hub's test sets mark with −1."""
    if value is None or value == "":
        return None
    if names is None:
        return str(value)
    return names[value] if 0 <= value < len(names) else None


@dataclass(frozen=True)
class Encoded:
    """Image in a table, which is decoded when the object is called."""

    table: Table
    index: int
    column: str
    name: str

    def __call__(self) -> NDArray[np.uint8]:
        """Return the decoded image."""
        return decoding.decode(self.encoded(), self.name)

    def encoded(self) -> bytes:
        """Return the bytes of the image file."""
        entry = self.table[self.index][self.column]
        if entry is None or entry.get("bytes") is None:
            raise ImageError(self.name, "has no image in the table; save the dataset with embedded images (embed_external_files)")
        return bytes(entry["bytes"])


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def _recognise(folder: Path) -> str | None:
    return "it was written by save_to_disk" if any((folder / name).is_file() for name in _SAVED) else None


SCHEMES.add("hf", Scheme("hf", open_hf, _recognise, options=("image", "label", "config")))
