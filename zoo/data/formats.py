"""The interface of dataset formats, and opening of datasets."""

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
        name: name of the scheme, which precedes the colon in dataset strings.
        open: function that reads all annotations, but no images, and returns the dataset. If its second argument is "raise", it raises one
            `DataError` for all faults. If it is "skip", it stores the faults in the dataset's `skipped`. The function implements the option
            `split` and the options in `options` itself, and calls `finish` to apply `classes` and `limit`.
        recognise: function that inspects a folder passed without a scheme. If the folder has this format, it returns the reason for this
            conclusion, otherwise None.
        options: names of the scheme's additional options.
        recognise_file: function that inspects a file passed without a scheme, with a result as for `recognise`.
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
        data: a dataset string, a path, an open `Dataset`, or a sequence of samples (objects with `image`, `target` and `key`, or mappings
            with these keys).
        schemes: formats of the task.
        task: name of the task, for error messages.
        on_error: "raise" to raise an error for annotation errors, or "skip" to skip and record them.
        say: callback that receives a message if the format of a path was recognised automatically. The message names the scheme and the
            reason.
        pictures: whether the image files must exist; see `DataRef`.

    Raises:
        DataError: the data doesn't exist, or the annotations contain errors.
        InputError: the scheme or an option is unknown, or the format of a path can't be recognised or is ambiguous.
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
    """Recognise the format of a path that was passed without a scheme.

    Args:
        ref: parsed dataset string.
        schemes: formats of the task.
        task: name of the task, for error messages.
        say: callback that receives a message that names the recognised scheme and the reason.

    Returns:
        The name of the scheme.

    Raises:
        DataError: the path doesn't exist.
        InputError: the path matches no scheme, or several schemes.
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
    """Create the dataset from its records, apply the options `classes` and `limit`, and raise or store the faults.

    Every scheme calls this function last.

    Args:
        ref: parsed dataset string.
        records: all records that could be read.
        classes: all class names of the data.
        faults: all errors in the annotations.
        on_error: "raise" to raise one error for all faults, "skip" to store them in the dataset.
        keep_classes: function that applies the option `classes`. It receives the records and the new index of each class (None for a class
            to drop), and returns the remaining records. None for `keep_labelled`, which requires targets that are class indices.

    Raises:
        DataError: the annotations contain errors, and `on_error` is "raise".
        UnknownNameError: the option `classes` contains a class that the data doesn't have.
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
    """Return the records whose class is kept, with the new class index as target. All targets must be class indices."""
    moved = ((record, new_index[cast(int, record.target)]) for record in records)
    return [replace(record, target=index) for record, index in moved if index is not None]
