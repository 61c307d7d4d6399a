"""Dataset strings, the sample contract, and the one data set class behind every format."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, cast, overload
from urllib.parse import parse_qsl

import numpy as np
from numpy.typing import NDArray

from zoo import images
from zoo.errors import DataError, Fault, InputError, UnknownNameError
from zoo.registry import Registry

OnError = Literal["raise", "skip"]
Image = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Sample:
    """One picture and what is known about it.

    Attributes:
        image: [H, W, 3] uint8, RGB.
        target: what the task learns: a class index (classification, face) or `{"boxes": [N, 4] float32 xyxy in pixels,
            "labels": [N] int64, …}` (detection); None where nothing is known.
        key: stable identity: the path relative to the data's folder, or a name made from the index.
    """

    image: Image
    target: Any
    key: str


@dataclass(frozen=True, slots=True)
class Record:
    """A sample that has not been decoded yet.

    Attributes:
        key: as in `Sample`.
        source: the picture's file, the picture itself, or a function that draws it.
        target: as in `Sample`.
    """

    key: str
    source: Path | Image | Callable[[], Image]
    target: Any

    def load(self) -> Sample:
        """Decode the whole picture.

        Raises:
            ImageError: the file can't be read.
        """
        return Sample(self.picture(images.Decoding())[0], self.target, self.key)

    def picture(self, decoding: images.Decoding) -> tuple[Image, tuple[int, int]]:
        """Decode the picture alone, perhaps at a reduced scale.

        Returns:
            The picture, and the height and width of the whole one: the frame of the target's coordinates.

        Raises:
            ImageError: the file can't be read.
        """
        if isinstance(self.source, Path):
            return decoding.read(self.source)
        image = self.source() if callable(self.source) else self.source
        return image, (image.shape[0], image.shape[1])


@dataclass(frozen=True)
class Dataset(Sequence[Sample]):
    """Records in a fixed order, with their classes: what every scheme opens into.

    Attributes:
        name: the dataset string it was opened from.
        records: the manifest.
        classes: names by index; empty where they aren't known.
        skipped: what was left out when the data was opened with `on_error="skip"`.
    """

    name: str
    records: tuple[Record, ...]
    classes: tuple[str, ...] = ()
    skipped: tuple[Fault, ...] = ()

    def __len__(self) -> int:
        """Return the number of samples in the manifest."""
        return len(self.records)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> Dataset: ...
    def __getitem__(self, index: int | slice) -> Sample | Dataset:
        """Decode one sample, or return a part of the data set.

        Raises:
            ImageError: the picture can't be read.
        """
        if isinstance(index, slice):
            return replace(self, records=self.records[index])
        return self.records[index].load()

    def __iter__(self) -> Iterator[Sample]:
        """Decode the samples one after the other."""
        return (record.load() for record in self.records)

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of the manifest, in order."""
        return tuple(record.key for record in self.records)

    def with_targets(self, change: Callable[[Any], Any], classes: tuple[str, ...]) -> Dataset:
        """Return the same pictures with other targets and classes."""
        records = tuple(replace(record, target=change(record.target)) for record in self.records)
        return replace(self, records=records, classes=classes)


@dataclass(frozen=True)
class DataRef:
    """A parsed dataset string `scheme:path[?option=value&…]`.

    Attributes:
        text: the string as given, for messages.
        scheme: the scheme's name, or "" where only a path was given.
        path: the text between scheme and options.
        split: which part of the data; None for the scheme's default.
        classes: the classes to keep, in this order; None for all.
        limit: at most so many samples.
        options: options of the scheme itself.
    """

    text: str
    scheme: str
    path: str
    split: str | None = None
    classes: tuple[str, ...] | None = None
    limit: int | None = None
    options: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> DataRef:
        """Read a dataset string.

        Raises:
            InputError: an option without a value, given twice, or a limit that is no number above 0.
        """
        body, _, query = text.partition("?")
        head, colon, tail = body.partition(":")
        # one letter before the colon is a Windows drive
        scheme, path = (head, tail) if colon and len(head) > 1 and "/" not in head and "\\" not in head else ("", body)
        if query and any("=" not in part for part in query.split("&")):
            raise InputError(f"data {text!r}: expected ?option=value[&option=value…] after the path, got {query!r}")
        options: dict[str, str] = {}
        for name, value in parse_qsl(query, keep_blank_values=True):
            if name in options:
                raise InputError(f"data {text!r}: the option {name!r} is given twice")
            options[name] = value
        split = options.pop("split", None)
        classes = options.pop("classes", None)
        limit = options.pop("limit", None)
        if limit is not None and (not limit.isdecimal() or int(limit) < 1):
            raise InputError(f"data {text!r}: limit is {limit!r}; expected a number above 0")
        names = tuple(name.strip() for name in classes.split(",")) if classes is not None else None
        return cls(text, scheme, path, split, names, int(limit) if limit else None, options)

    def folder(self) -> Path:
        """Return the path as an existing folder.

        Raises:
            DataError: it is missing, not named or not a folder.
        """
        folder = self.existing("folder")
        if not folder.is_dir():
            raise DataError(f"data {self.text!r}: {folder} is a file; expected a folder")
        return folder

    def file(self) -> Path:
        """Return the path as an existing file.

        Raises:
            DataError: it is missing, not named or not a file.
        """
        file = self.existing("file")
        if not file.is_file():
            raise DataError(f"data {self.text!r}: {file} is {'a folder' if file.is_dir() else 'no ordinary file'}; expected a file")
        return file

    def existing(self, kind: str) -> Path:
        """Return the path as it is on the disk.

        Args:
            kind: what is expected there, in words.

        Raises:
            DataError: it is missing or not named.
        """
        if not self.path:
            raise DataError(f"data {self.text!r} names no {kind}; expected scheme:path")
        path = Path(self.path).expanduser()
        if not path.exists():
            raise DataError(f"data {self.text!r}: the {kind} {path} does not exist. Check the path; it is relative to {Path.cwd()}")
        return path

    def root_folder(self) -> Path | None:
        """Return the option `root=`, the folder that paths in annotations are relative to, or None where it isn't given.

        Raises:
            InputError: it is no folder.
        """
        if "root" not in self.options:
            return None
        root = Path(self.options["root"]).expanduser()
        if not root.is_dir():
            raise InputError(f"data {self.text!r}: root is {self.options['root']!r}, which is no folder; it is relative to {Path.cwd()}")
        return root


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
    data: object, schemes: Registry[Scheme], task: str, on_error: OnError = "raise", say: Callable[[str], None] | None = None
) -> Dataset:
    """Open whatever a user hands over as data.

    Args:
        data: a dataset string, a path, an open `Dataset`, or any sequence of samples (objects with `image`, `target`, `key`,
            or mappings with these keys).
        schemes: the formats of the task.
        task: the task's name, for messages.
        on_error: "raise", or "skip" to leave out what is faulty and record it.
        say: told which scheme a bare path was recognised as, and why.

    Raises:
        DataError: nothing there, or faults in the annotations.
        InputError: an unknown scheme or option, or a path that fits no scheme or several.
    """
    if isinstance(data, Dataset):
        return data
    if isinstance(data, Path):
        return _open_path(DataRef(str(data), "", str(data)), schemes, task, on_error, say)
    if not isinstance(data, str):
        return _from_sequence(data)
    ref = DataRef.parse(data)
    if not ref.scheme:
        return _open_path(ref, schemes, task, on_error, say)
    return _open_scheme(ref, schemes[ref.scheme], on_error)


def _open_scheme(ref: DataRef, scheme: Scheme, on_error: OnError) -> Dataset:
    for option in ref.options:
        if option not in scheme.options:
            raise UnknownNameError(f"option of {scheme.name}:", option, {"split", "classes", "limit", *scheme.options})
    dataset = scheme.open(ref, on_error)
    if not dataset.records:
        raise DataError(f"data {ref.text!r} has no samples", remedy="Check the path, the split and the classes.")
    return dataset


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


def _from_sequence(data: object) -> Dataset:
    if not isinstance(data, Sequence):
        raise InputError(f"data is a {type(data).__name__}; expected a dataset string, a path, or a sequence of samples")
    if not len(data):
        raise InputError("data is an empty sequence; expected at least one sample")
    records = []
    for index, item in enumerate(data):
        get = item.get if isinstance(item, Mapping) else lambda name, item=item: getattr(item, name, None)
        image, key = get("image"), get("key")
        if image is None:
            raise InputError(f"sample {index} has no image; expected image ([H, W, 3] uint8 RGB), target and key")
        array = np.asarray(image)
        if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
            raise InputError(f"sample {index}: the image is {array.dtype} of shape {array.shape}; expected uint8 [H, W, 3], RGB")
        records.append(Record(f"{index:06d}" if key is None else str(key), array, get("target")))
    repeated = len(records) - len({record.key for record in records})
    if repeated:
        raise InputError(f"{repeated} samples repeat the key of another; keys must be unique")
    return Dataset(f"{len(records)} samples", tuple(records), tuple(getattr(data, "classes", ())))


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


def picture_files(folder: Path) -> list[Path]:
    """Return the pictures below a folder by name, in a stable order; files of other kinds don't count as pictures."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and is_picture_name(path.name))


def is_picture_name(name: str) -> bool:
    """Tell whether a file name ends like a picture; hidden files never do."""
    return not name.startswith(".") and any(fnmatch.fnmatch(name.lower(), f"*{suffix}") for suffix in images.SUFFIXES)


def subfolders(folder: Path) -> list[Path]:
    """Return the visible folders directly inside a folder, by name."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


_SPLITS = {"train", "training", "val", "valid", "validation", "test", "testing"}


def split_folder(ref: DataRef, root: Path) -> Path:
    """Return the folder of the split that was asked for, for formats that keep splits as folders.

    Raises:
        InputError: `split=` names no folder there, or there are splits and none was named.
    """
    names = [folder.name for folder in subfolders(root)]
    splits = [name for name in names if name.lower() in _SPLITS]
    if ref.split is not None:
        if ref.split not in names:
            known = ", ".join(splits or names[:8]) or "none"
            raise InputError(f"data {ref.text!r}: no split {ref.split!r} in {root}; its folders are: {known}")
        return root / ref.split
    if names and len(splits) == len(names):
        raise InputError(f"data {ref.text!r} has the splits {', '.join(splits)}; say which with ?split={splits[0]}")
    return root
