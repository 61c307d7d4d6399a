"""The sample contract, and the one data set class behind every format."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from zoo.errors import Fault, InputError
from zoo.images import decoding as images

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
        size_hw: height and width in pixels as the annotations say, which nobody has checked; None where they don't.
    """

    key: str
    source: Path | Image | Callable[[], Image]
    target: Any
    size_hw: tuple[int, int] | None = None

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
        exact: decode every picture whole, whatever the model needs; otherwise JPEGs much larger than that come at a reduced scale.
    """

    name: str
    records: tuple[Record, ...]
    classes: tuple[str, ...] = ()
    skipped: tuple[Fault, ...] = ()
    exact: bool = False

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

    def decoding(self, wanted: images.Decoding) -> images.Decoding:
        """Return how to read the pictures for someone who would read them as `wanted`: whole ones where the data is `exact`."""
        return replace(wanted, min_size_hw=None) if self.exact else wanted

    def with_targets(self, change: Callable[[Any], Any], classes: tuple[str, ...]) -> Dataset:
        """Return the same pictures with other targets and classes."""
        records = tuple(replace(record, target=change(record.target)) for record in self.records)
        return replace(self, records=records, classes=classes)


def from_sequence(data: object) -> Dataset:
    """Return a data set of samples that are in memory.

    Args:
        data: a sequence of objects with `image`, `target` and `key`, or of mappings with these keys; its own `classes`, if it has any.

    Raises:
        InputError: no sequence, an empty one, a sample of another shape, or a key given twice.
    """
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
