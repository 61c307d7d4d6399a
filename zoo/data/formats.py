"""Dataset strings (`scheme:path[?option=value&…]`), the interface of dataset formats, and opening of datasets."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast
from urllib.parse import unquote

from zoo.data.dataset import Dataset, OnError, Record, from_sequence
from zoo.data.foreign import foreign_format
from zoo.data.links import RULES
from zoo.data.names import nfc
from zoo.errors import DataError, Fault, InputError, UnknownNameError, UnrecognisedError
from zoo.images import decoding
from zoo.images.bands import parse as parse_bands
from zoo.registry import Registry
from zoo.system.wording import counted, look_at


@dataclass(frozen=True)
class DataRef:
    """A parsed dataset string `scheme:path[?option=value&…]`.

    In the path, `%3F` stands for `?`, and in the values of options, `%26`, `%2C` and `%25` stand for `&`, `,` and `%`, as in URLs. A path
    that exists as it is written is taken literally.

    Attributes:
        text: the original string, for messages.
        scheme: name of the scheme; "" if the string is a bare path.
        path: path between the scheme and the options.
        split: requested split; None for the scheme's default.
        classes: classes to keep, in this order; None for all.
        limit: maximum number of samples; None for no limit.
        exact: whether to decode all images at full size; see `Dataset`.
        bands: bands of the images to read as RGB or grey; see `zoo.read_image`. None for the usual ones.
        links: which symbolic links that leave the dataset folder are followed: "own", "follow" or "refuse"; see `zoo.data.links`.
        options: scheme-specific options, by name.
        pictures: whether the image files must exist. It is False when predictions from a file are scored, which doesn't require the images;
            schemes that support this then open the dataset without them.
    """

    text: str
    scheme: str
    path: str
    split: str | None = None
    classes: tuple[str, ...] | None = None
    limit: int | None = None
    exact: bool = False
    bands: tuple[int, ...] | None = None
    links: str = "own"
    options: Mapping[str, str] = field(default_factory=dict)
    pictures: bool = True

    @classmethod
    def parse(cls, text: str) -> DataRef:
        """Parse a dataset string.

        Raises:
            InputError: an option has no value or occurs twice, `limit` isn't an integer above 0, `exact` is neither true nor false,
                `bands` isn't one or three numbers, or `links` isn't one of the rules.
        """
        body, mark, query = text.partition("?")
        head, colon, tail = body.partition(":")
        # one letter before the colon is a Windows drive
        scheme, path = (head, tail) if colon and len(head) > 1 and "/" not in head and "\\" not in head else ("", body)
        if (query or (mark and os.path.lexists(f"{path}?"))) and any("=" not in part for part in query.split("&")):
            hint = "write a ? that belongs to the path as %3F"
            raise InputError(f"data {text!r}: expected ?option=value[&option=value…] after the path, got {query!r}; {hint}")
        options: dict[str, str] = {}
        for name, _, value in (part.partition("=") for part in query.split("&") if part):
            if name in options:
                raise InputError(f"data {text!r}: the option {name!r} is given twice")
            options[name] = value if name == "classes" else unescaped(value)
        split, classes, limit = (options.pop(name, None) for name in ("split", "classes", "limit"))
        exact, links, bands = options.pop("exact", "false"), options.pop("links", "own"), options.pop("bands", None)
        if limit is not None and (not limit.isdecimal() or int(limit) < 1):
            raise InputError(f"data {text!r}: limit is {limit!r}; expected an integer above 0")
        if exact not in ("true", "false"):
            raise InputError(f"data {text!r}: exact is {exact!r}; expected true (decode images at full size) or false")
        if links not in RULES:
            raise InputError(f"data {text!r}: links is {links!r}; expected one of {', '.join(RULES)} (links that leave the folder)")
        names = tuple(nfc(unescaped(name).strip()) for name in classes.split(",")) if classes is not None else None
        return cls(
            text,
            scheme,
            path if os.path.lexists(os.path.expanduser(path)) else unescaped(path),
            None if split is None else nfc(split),
            names,
            int(limit) if limit else None,
            exact == "true",
            None if bands is None else parse_bands(bands),
            links,
            options,
        )

    @classmethod
    def of(cls, data: str | Path) -> DataRef:
        """Parse a dataset string, or take a `Path` as it is; its `text` is then the dataset string of the path."""
        return cls(escaped(data), "", str(data)) if isinstance(data, Path) else cls.parse(data)

    def of_split(self, split: str) -> DataRef:
        """Return the reference to one split of the data."""
        text = f"{self.text}{'&' if '?' in self.text else '?'}split={escaped_value(split)}"
        return replace(self, text=text, split=split)

    def folder(self) -> Path:
        """Return the path, or raise a `DataError` if it isn't an existing folder."""
        folder = self.existing("folder")
        if not folder.is_dir():
            raise DataError(f"data {self.text!r}: {folder} is a file; expected a folder")
        return folder

    def file(self) -> Path:
        """Return the path, or raise a `DataError` if it isn't an existing file."""
        file = self.existing("file")
        if not file.is_file():
            raise DataError(f"data {self.text!r}: {file} is {'a folder' if file.is_dir() else 'not a regular file'}; expected a file")
        return file

    def existing(self, kind: str) -> Path:
        """Return the path with `~` expanded.

        Args:
            kind: expected kind of path, for error messages ("folder", "file").

        Raises:
            DataError: the path is empty or doesn't exist.
        """
        if not self.path:
            raise DataError(f"data {self.text!r} names no {kind}; expected scheme:path")
        path = Path(self.path).expanduser()
        if not path.exists():
            raise DataError(f"data {self.text!r}: the {kind} {path} does not exist. {look_at(path)}")
        return path

    def root_folder(self) -> Path | None:
        """Return the folder set by the option `root=`, which paths in annotations are relative to; None if the option isn't set."""
        if "root" not in self.options:
            return None
        root = Path(self.options["root"]).expanduser()
        if not root.is_dir():
            raise InputError(f"data {self.text!r}: root is {self.options['root']!r}, which isn't a folder. {look_at(root)}")
        return root


def unescaped(text: str) -> str:
    """Decode the `%XX` sequences of a dataset string."""
    return unquote(text, errors="surrogateescape") if "%" in text else text


def escaped(path: str | Path) -> str:
    """Return a path as it is written in a dataset string, without or after a scheme."""
    text = re.sub(r"%(?=[0-9A-Fa-f]{2})", "%25", str(path)).replace("?", "%3F")
    return f"./{text}" if isinstance(path, Path) and DataRef.parse(text).scheme else text


def escaped_value(text: str) -> str:
    """Return the value of an option as it is written in a dataset string; commas stay, because they separate classes."""
    return re.sub(r"%(?=[0-9A-Fa-f]{2})", "%25", text).replace("&", "%26")


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
        splits: function that returns the names of the splits of a folder or file; None if they are those of common layouts.
    """

    name: str
    open: Callable[[DataRef, OnError], Dataset]
    recognise: Callable[[Path], str | None] = lambda path: None
    options: tuple[str, ...] = ()
    recognise_file: Callable[[Path], str | None] = lambda path: None
    splits: Callable[[Path], list[str]] | None = None


def open_data(
    data: object,
    schemes: Registry[Scheme],
    task: str,
    on_error: OnError = "raise",
    say: Callable[[str], None] | None = None,
    pictures: bool = True,
) -> Dataset:
    """Open a dataset with the formats of a task, whose name is only used in error messages; for the other arguments, see `Task.open`."""
    if isinstance(data, Dataset):
        return data
    if not isinstance(data, str | Path | DataRef):
        return from_sequence(data)
    ref = data if isinstance(data, DataRef) else DataRef.of(data)
    ref = replace(ref, scheme=ref.scheme or recognise(ref, schemes, task, say), pictures=pictures)
    scheme = schemes[ref.scheme]
    for option in ref.options:
        if option not in scheme.options:
            raise UnknownNameError(
                f"option of {scheme.name}:", option, {"split", "classes", "limit", "exact", "bands", "links", *scheme.options}
            )
    dataset = scheme.open(ref, on_error)
    if not dataset.records:
        faults = (*dataset.skipped, *(Fault(ref.path, note, kind="assumed") for note in dataset.notes))
        raise DataError(f"data {ref.text!r} has no samples", faults, remedy="Check the path, the split and the classes.")
    if pictures:
        files = ((record.key, record.path) for record in dataset.records if record.path is not None)
        dataset = replace(dataset, notes=(*dataset.notes, *decoding.notes(files, ref.bands)))
    if ref.bands is not None:
        dataset = replace(dataset, records=tuple(replace(record, bands=ref.bands) for record in dataset.records))
    if say is not None:
        for note in dataset.notes:
            say(f"data {ref.text}: {note}")
    return replace(dataset, exact=ref.exact)


def matches(path: Path, schemes: Registry[Scheme]) -> dict[str, str]:
    """Return why a folder or file is recognised, by the name of each scheme that recognises it."""
    looks = {name: schemes[name].recognise if path.is_dir() else schemes[name].recognise_file for name in schemes}
    return {name: reason for name, look in looks.items() if (reason := look(path))}


def recognise(ref: DataRef, schemes: Registry[Scheme], task: str, say: Callable[[str], None] | None = None) -> str:
    """Return the name of the scheme of a path that was passed without one, and report it and the reason to `say`.

    Raises:
        DataError: the path doesn't exist.
        UnrecognisedError: the path matches no scheme of `schemes`.
        InputError: the path matches several.
    """
    path = ref.existing("folder or file")
    found = matches(path, schemes)
    if not found:
        known = f"{foreign_format(path)} Specify the format as scheme:path, with one of: {', '.join(schemes)}"
        raise UnrecognisedError(f"data {ref.text!r}: no data format of the task {task} was recognised in {path}.{known}", path)
    if len(found) > 1:
        reasons = "; ".join(f"{name}: ({reason})" for name, reason in found.items())
        raise InputError(f"data {ref.text!r} matches several formats: {reasons}. Specify the format as scheme:path")
    ((name, reason),) = found.items()
    if say is not None:
        say(f"data {ref.text}: recognised as {name}, because {reason}")
    return name


def keep_labelled(records: Sequence[Record], new_index: Sequence[int | None]) -> list[Record]:
    """Return the records whose class is kept, with the new class index as target. All targets must be class indices."""
    moved = ((record, new_index[cast(int, record.target)]) for record in records)
    return [replace(record, target=index) for record, index in moved if index is not None]


def _normal(records: Sequence[Record]) -> list[Record]:
    """Return records with keys in normal form, or unchanged if two keys would be equal."""
    kept = [record if record.key.isascii() else replace(record, key=nfc(record.key)) for record in records]
    return kept if len({record.key for record in kept}) == len({record.key for record in records}) else list(records)


def finish(
    ref: DataRef,
    records: Sequence[Record],
    classes: Sequence[str],
    faults: Sequence[Fault],
    on_error: OnError,
    keep_classes: Callable[[Sequence[Record], Sequence[int | None]], list[Record]] = keep_labelled,
    notes: Sequence[str] = (),
) -> Dataset:
    """Create the dataset from its records, apply the options `classes` and `limit`, and raise or store the faults.

    Every scheme calls this function last. Keys and class names are brought to Unicode's normal form C.

    Args:
        ref: parsed dataset string.
        records: all records that could be read.
        classes: all class names of the data.
        faults: all errors in the annotations.
        on_error: "raise" to raise one error for all faults, "skip" to store them in the dataset.
        keep_classes: function that applies the option `classes`. It receives the records and the new index of each class (None for a class
            to drop), and returns the remaining records. The default requires targets that are class indices.
        notes: as in `Dataset`.

    Raises:
        DataError: the annotations contain errors, and `on_error` is "raise".
        UnknownNameError: the option `classes` contains a class that the data doesn't have.
    """
    if faults and on_error == "raise":
        remedy = 'Fix them, or skip them with --skip-bad (on_error="skip").'
        raise DataError(f"data {ref.text!r}: {counted(len(faults), 'error')} in the annotations:", faults, remedy)
    kept, names = _normal(records), tuple(map(nfc, classes))
    if ref.classes is not None:
        for name in ref.classes:
            if name not in names:
                raise UnknownNameError(f"class of {ref.text!r}:", name, names)
        new_index = [ref.classes.index(name) if name in ref.classes else None for name in names]
        kept = keep_classes(kept, new_index)
        names = ref.classes
    return Dataset(ref.text, tuple(kept[: ref.limit]), names, tuple(faults), notes=tuple(notes))
