"""Dataset formats, and opening of datasets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from zoo.data.dataset import Dataset, OnError, Record, from_sequence
from zoo.data.reference import DataRef
from zoo.errors import DataError, Fault, InputError, UnknownNameError
from zoo.registry import Registry
from zoo.system.wording import counted


@dataclass(frozen=True)
class Scheme:
    """A dataset format of a task.

    Attributes:
        name: scheme name, the part of the dataset string before the colon.
        open: function that reads the records (all annotations, but no images); with "raise" it raises one `DataError` for all faults, with
            "skip" it stores them in the dataset's `skipped`. It implements `split` and the scheme's specific options itself; `classes` and
            `limit` through `finish`.
        recognise: function that inspects a folder given as a bare path, and returns why it has this format, or None.
        options: names of the scheme's specific options.
        recognise_file: like `recognise`, for a file given as a bare path.
    """

    name: str
    open: Callable[[DataRef, OnError], Dataset]
    recognise: Callable[[Path], str | None] = lambda path: None
    options: tuple[str, ...] = ()
    recognise_file: Callable[[Path], str | None] = lambda path: None


def open_data(
    data: object,
    schemes: Registry[Scheme],
    task: str,
    on_error: OnError = "raise",
    say: Callable[[str], None] | None = None,
    pictures: bool = True,
) -> Dataset:
    """Open a dataset in any supported form.

    Args:
        data: a dataset string, a path, an open `Dataset`, or any sequence of samples (objects with `image`, `target`, `key`,
            or mappings with these keys).
        schemes: formats of the task.
        task: name of the task, for error messages.
        on_error: "raise", or "skip" to skip and record faults.
        say: callback that receives a line with the scheme that a bare path was recognised as, and the reason.
        pictures: whether the image files must exist; see `DataRef`.

    Raises:
        DataError: the data doesn't exist, or the annotations have faults.
        InputError: the scheme or an option is unknown, or a path matches no scheme or several.
    """
    if isinstance(data, Dataset):
        return data
    if not isinstance(data, str | Path):
        return from_sequence(data)
    ref = DataRef(str(data), "", str(data)) if isinstance(data, Path) else DataRef.parse(data)
    ref = replace(ref, scheme=ref.scheme or recognise(ref, schemes, task, say), pictures=pictures)
    scheme = schemes[ref.scheme]
    for option in ref.options:
        if option not in scheme.options:
            raise UnknownNameError(f"option of {scheme.name}:", option, {"split", "classes", "limit", "exact", *scheme.options})
    dataset = scheme.open(ref, on_error)
    if not dataset.records:
        raise DataError(f"data {ref.text!r} has no samples", dataset.skipped, remedy="Check the path, the split and the classes.")
    return replace(dataset, exact=ref.exact)


def recognise(ref: DataRef, schemes: Registry[Scheme], task: str, say: Callable[[str], None] | None = None) -> str:
    """Return the name of the scheme that a bare path is recognised as; `say` receives a line with the scheme and the reason.

    Raises:
        DataError: the path doesn't exist.
        InputError: the path matches no scheme or several.
    """
    path = ref.existing("folder or file")
    looks = {name: schemes[name].recognise if path.is_dir() else schemes[name].recognise_file for name in schemes}
    found = {name: reason for name, look in looks.items() if (reason := look(path))}
    if not found:
        raise InputError(
            f"data {ref.text!r}: no data format of the task {task} was recognised in {path}. "
            f"Specify the format as scheme:path, with one of: {', '.join(schemes)}"
        )
    if len(found) > 1:
        reasons = "; ".join(f"{name}: ({reason})" for name, reason in found.items())
        raise InputError(f"data {ref.text!r} matches several formats: {reasons}. Specify the format as scheme:path")
    ((name, reason),) = found.items()
    if say is not None:
        say(f"data {ref.text}: recognised as {name}, because {reason}")
    return name


def finish(
    ref: DataRef,
    records: Sequence[Record],
    classes: Sequence[str],
    faults: Sequence[Fault],
    on_error: OnError,
    keep_classes: Callable[[Sequence[Record], Sequence[int | None]], list[Record]] | None = None,
) -> Dataset:
    """Apply `classes=` and `limit=`, and raise or keep the faults: the last step of every scheme.

    Args:
        ref: parsed dataset string.
        records: all records that could be read.
        classes: all class names of the data.
        faults: all faults in the annotations.
        on_error: "raise" to raise one error for all faults, "skip" to store them in the dataset.
        keep_classes: function that receives the records and the new index of each class (None if the class is dropped), and returns the
            records that remain; by default, targets are class indices.

    Raises:
        DataError: there are faults, and `on_error` is "raise".
        UnknownNameError: `classes=` contains a class that the data doesn't have.
    """
    if faults and on_error == "raise":
        remedy = 'Fix them, or skip them with --skip-bad (on_error="skip").'
        raise DataError(f"data {ref.text!r}: {counted(len(faults), 'error')} in the annotations:", faults, remedy)
    kept, names = list(records), tuple(classes)
    if ref.classes is not None:
        for name in ref.classes:
            if name not in names:
                raise UnknownNameError(f"class of {ref.text!r}:", name, names)
        new_index = [ref.classes.index(name) if name in ref.classes else None for name in names]
        kept = (keep_classes or keep_labelled)(kept, new_index)
        names = ref.classes
    return Dataset(ref.text, tuple(kept[: ref.limit]), names, tuple(faults))


def keep_labelled(records: Sequence[Record], new_index: Sequence[int | None]) -> list[Record]:
    """Keep the records whose class is kept, for targets that are class indices."""
    moved = ((record, new_index[cast(int, record.target)]) for record in records)
    return [replace(record, target=index) for record, index in moved if index is not None]
