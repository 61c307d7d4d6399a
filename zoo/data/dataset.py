"""The sample contract, and the dataset class that is used for all formats."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from zoo.data.names import nfc
from zoo.errors import Fault, Flaw, ImageError, InputError
from zoo.images import bands
from zoo.images import decoding as images

ATTRIBUTE = "attribute:"  # prefix of the fields of a detection target with attributes of its boxes
OnError = Literal["raise", "skip"]
Image = NDArray[np.uint8]


def wrong_size(stated_hw: tuple[int, int], size_hw: tuple[int, int]) -> str:
    """Describe an image whose size differs from that of its annotation, both as height and width in pixels."""
    stated, real = (f"{width}×{height}" for height, width in (stated_hw, size_hw))
    change = "rotated" if stated_hw == size_hw[::-1] else "resized or replaced"
    reason = f"its annotation is for an image of {stated} pixels, but the file has {real}"
    return f"{reason}. Was it {change} after annotation? Restore the file, or correct the boxes and the size in the annotation"


@dataclass(frozen=True, slots=True)
class Sample:
    """An image with its target.

    Attributes:
        image: [H, W, 3] uint8, RGB.
        target: ground truth in the format of the task; None if there is none. For classification and face, it is a class index. For
            multi-label classification, it is [K] float32: 1, 0 or NaN (unknown) for each class. For detection, it is
            `{"boxes": [N, 4] float32 xyxy in pixels, "labels": [N] int64, …}`.
        key: stable identifier of the sample: its path relative to the dataset folder, or a name made from its index.
    """

    image: Image
    target: Any
    key: str


@dataclass(frozen=True, slots=True)
class Record:
    """A sample whose image hasn't been decoded.

    Attributes:
        key: as in `Sample`.
        source: path of the image file, the image itself, or a function that generates it.
        target: as in `Sample`.
        size_hw: height and width in pixels, after EXIF orientation, that the target refers to; None if the annotations don't state a size.
            An image file is compared with it when it is decoded.
        bands: bands of the image to read as RGB or grey; see `zoo.read_image`. None for the usual ones.
    """

    key: str
    source: Path | Image | Callable[[], Image]
    target: Any
    size_hw: tuple[int, int] | None = None
    bands: tuple[int, ...] | None = None

    @property
    def path(self) -> Path | None:
        """Path of the image file; None if the image is in memory or generated on demand."""
        return self.source if isinstance(self.source, Path) else None

    def check_size(self) -> None:
        """Raise an `ImageError` if the header of the image file declares another size than the annotations."""
        header = images.peek(self.source) if isinstance(self.source, Path) and self.size_hw is not None else None
        if header is not None:
            self._compare(header.size_hw)

    def _compare(self, size_hw: tuple[int, int]) -> None:
        if self.size_hw is not None and self.size_hw != size_hw:
            raise ImageError(str(self.source), wrong_size(self.size_hw, size_hw), "wrong-size")

    def load(self) -> Sample:
        """Decode the image at full size, and return the sample.

        Raises:
            ImageError: the file can't be read.
        """
        return Sample(self.picture(images.Decoding())[0], self.target, self.key)

    def picture(self, decoding: images.Decoding) -> tuple[Image, tuple[int, int]]:
        """Decode the image, possibly at a reduced scale.

        Returns:
            The image, and its height and width at full size, which are the coordinate frame of the target.

        Raises:
            ImageError: the file can't be read, or has another size than `size_hw`.
        """
        if self.bands is not None:
            decoding = replace(decoding, bands=self.bands)
        if isinstance(self.source, Path):
            image, size_hw = decoding.read(self.source)
            self._compare(size_hw)
            return image, size_hw
        encoded = getattr(self.source, "encoded", None)  # images in a table
        if self.bands is not None and encoded is not None:
            return decoding.decode(encoded(), self.key)
        image = self.source() if callable(self.source) else self.source
        if self.bands is not None:
            try:
                image = bands.choose(image, self.bands)
            except Flaw as flaw:
                raise ImageError(self.key, flaw.reason, flaw.kind) from None
        return image, (image.shape[0], image.shape[1])


@dataclass(frozen=True)
class Dataset(Sequence[Sample]):
    """An ordered sequence of records and the names of their classes. Datasets of every scheme are opened as this class.

    Attributes:
        name: dataset string from which the dataset was opened.
        records: records of the samples, in a fixed order.
        classes: class names by index; empty if unknown.
        skipped: annotation errors that were skipped because the dataset was opened with `on_error="skip"`.
        notes: what the reader assumed, converted or ignored, one line each; commands print them.
        exact: whether to always decode images at full size; otherwise JPEGs much larger than the model's input are decoded at a reduced
            scale.
    """

    name: str
    records: tuple[Record, ...]
    classes: tuple[str, ...] = ()
    skipped: tuple[Fault, ...] = ()
    exact: bool = False
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.records)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> Dataset: ...
    def __getitem__(self, index: int | slice) -> Sample | Dataset:
        """Return the sample at an index, decoded, or a slice as a dataset.

        Raises:
            ImageError: the image can't be read.
        """
        if isinstance(index, slice):
            return replace(self, records=self.records[index])
        return self.records[index].load()

    @property
    def keys(self) -> tuple[str, ...]:
        """Keys of the samples, in order."""
        return tuple(record.key for record in self.records)

    def decoding(self, wanted: images.Decoding) -> images.Decoding:
        """Return the decoding settings for this dataset: `wanted`, but at full size if the dataset is `exact`."""
        return replace(wanted, min_size_hw=None) if self.exact else wanted

    def with_targets(self, change: Callable[[Any], Any], classes: tuple[str, ...]) -> Dataset:
        """Return a dataset with the same images and other classes; `change` is a function that converts each target."""
        records = tuple(replace(record, target=change(record.target)) for record in self.records)
        return replace(self, records=records, classes=classes)


def from_sequence(data: object) -> Dataset:
    """Return samples in memory as a dataset; raise an `InputError` if there are none, one is invalid, or a key occurs twice.

    `data` is a sequence of objects with the attributes `image`, `target` and `key`, or of mappings with these keys. If it has an attribute
    `classes`, this is the class names.
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
        raise InputError(f"{repeated} samples have the same key as another sample; keys must be unique")
    return Dataset(f"{len(records)} samples", tuple(records), tuple(nfc(str(name)) for name in getattr(data, "classes", ())))
