"""Dataset formats, and opening data through them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from zoo.data.dataset import Dataset, OnError, Record, from_sequence
from zoo.data.reference import DataRef
from zoo.errors import DataError, Fault, InputError, UnknownNameError
from zoo.registry import Registry


@dataclass(frozen=True)
class Scheme:
    """One dataset format of one task.

    Attributes:
        name: what stands before the colon.
        open: reads the manifest (annotations whole, pictures not); with "raise" every fault ends up in one `DataError`,
            with "skip" in the data set's `skipped`. `split`, and the scheme's own options, are its business; `classes`
            and `limit` too, through `finish`.
        recognise: looks at the folder of a bare path and returns why it is of this format, or None.
        options: names of the scheme's own options.
        recognise_file: looks at the file of a bare path, likewise.
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
    """Open whatever a user hands over as data.

    Args:
        data: a dataset string, a path, an open `Dataset`, or any sequence of samples (objects with `image`, `target`, `key`,
            or mappings with these keys).
        schemes: the formats of the task.
        task: the task's name, for messages.
        on_error: "raise", or "skip" to leave out what is faulty and record it.
        say: told which scheme a bare path was recognised as, and why.
        pictures: whether the files of the pictures must be there; see `DataRef`.

    Raises:
        DataError: nothing there, or faults in the annotations.
        InputError: an unknown scheme or option, or a path that fits no scheme or several.
    """
    if isinstance(data, Dataset):
        return data
    if isinstance(data, Path):
        return _open_path(DataRef(str(data), "", str(data), pictures=pictures), schemes, task, on_error, say)
    if not isinstance(data, str):
        return from_sequence(data)
    ref = replace(DataRef.parse(data), pictures=pictures)
    if not ref.scheme:
        return _open_path(ref, schemes, task, on_error, say)
    return _open_scheme(ref, schemes[ref.scheme], on_error)


def _open_scheme(ref: DataRef, scheme: Scheme, on_error: OnError) -> Dataset:
    for option in ref.options:
        if option not in scheme.options:
            raise UnknownNameError(f"option of {scheme.name}:", option, {"split", "classes", "limit", "exact", *scheme.options})
    dataset = scheme.open(ref, on_error)
    if not dataset.records:
        raise DataError(f"data {ref.text!r} has no samples", dataset.skipped, remedy="Check the path, the split and the classes.")
    return replace(dataset, exact=ref.exact)


def _open_path(ref: DataRef, schemes: Registry[Scheme], task: str, on_error: OnError, say: Callable[[str], None] | None) -> Dataset:
    path = ref.existing("folder or file")
    looks = {name: schemes[name].recognise if path.is_dir() else schemes[name].recognise_file for name in schemes}
    found = {name: reason for name, look in looks.items() if (reason := look(path))}
    if not found:
        raise InputError(
            f"data {ref.text!r}: no data format of the task {task} was recognised in {path}. "
            f"Say which it is, as scheme:path with one of: {', '.join(schemes)}"
        )
    if len(found) > 1:
        reasons = "; ".join(f"{name}: ({reason})" for name, reason in found.items())
        raise InputError(f"data {ref.text!r} fits several formats: {reasons}. Say which it is, as scheme:path")
    ((name, reason),) = found.items()
    if say is not None:
        say(f"data {ref.text}: taken as {name}: because {reason}")
    return _open_scheme(replace(ref, scheme=name), schemes[name], on_error)


def finish(
    ref: DataRef,
    records: Sequence[Record],
    classes: Sequence[str],
    faults: Sequence[Fault],
    on_error: OnError,
    keep_classes: Callable[[Sequence[Record], Sequence[int | None]], list[Record]] | None = None,
) -> Dataset:
    """Apply `classes=` and `limit=`, and decide about the faults: the last step of every scheme.

    Args:
        ref: what was asked for.
        records: everything that could be read.
        classes: all class names of the data.
        faults: everything wrong in the annotations.
        on_error: "raise" turns faults into one error.
        keep_classes: given the records and the new index of each class (None: not kept), returns the records that remain;
            by default the target is a class index.

    Raises:
        DataError: faults, and `on_error` is "raise".
        UnknownNameError: `classes=` names a class that the data doesn't have.
    """
    if faults and on_error == "raise":
        count = f"{len(faults)} fault" + ("s" if len(faults) > 1 else "")
        raise DataError(
            f"data {ref.text!r}: {count} in the annotations:",
            faults,
            'Mend them, or leave them out with --skip-bad (on_error="skip").',
        )
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
    """Keep the records whose class is kept, for targets that are a class index."""
    moved = ((record, new_index[cast(int, record.target)]) for record in records)
    return [replace(record, target=index) for record, index in moved if index is not None]
