"""Format-independent content of a dataset and writers of formats, for conversion: images with names, targets and splits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from zoo.data.dataset import Record


@dataclass(frozen=True)
class Picture:
    """An image to be written.

    Attributes:
        name: path within the data, with `/`, without folders that only belong to the old format.
        record: source and target of the image; labels are indices into `Content.classes`.
        splits: names of the splits that contain the image; empty if the data has none.
    """

    name: str
    record: Record
    splits: tuple[str, ...] = ()


def _nowhere(picture: Picture, path: Path) -> None:
    raise AssertionError("`put` must be set before content is written")


@dataclass(frozen=True)
class Content:
    """Content of a dataset, independent of its format.

    Attributes:
        classes: class names, in order.
        splits: split names, in the order found; empty if the data has none.
        pictures: images, in the order of the data.
        put: function that copies the file of an image, byte for byte, to a path.
    """

    classes: tuple[str, ...]
    splits: tuple[str, ...]
    pictures: tuple[Picture, ...]
    put: Callable[[Picture, Path], None] = _nowhere

    def of_split(self, split: str) -> tuple[Picture, ...]:
        """Return the images of a split, or all images if the name is empty."""
        return tuple(picture for picture in self.pictures if not split or split in picture.splits)


@dataclass(frozen=True)
class Writer:
    """Writer of a format of a task.

    Attributes:
        write: function that writes content into an empty folder.
        losses: function that returns what would be lost because the format can't represent it, one sentence each.
        path: path of the result in its dataset string, relative to the folder ("" for the folder itself).
    """

    write: Callable[[Content, Path], None]
    losses: Callable[[Content], Sequence[str]] = lambda content: ()
    path: str = ""


def same_stem(pictures: Sequence[Picture]) -> list[tuple[str, str]]:
    """Return pairs of images whose names differ only in the suffix: formats with one file per image can't distinguish them."""
    seen: dict[PurePosixPath, str] = {}
    pairs = []
    for picture in pictures:
        stem = PurePosixPath(picture.name).with_suffix("")
        if stem in seen:
            pairs.append((seen[stem], picture.name))
        seen.setdefault(stem, picture.name)
    return pairs


def count(target: Mapping[str, Any], name: str) -> int:
    """Return the number of boxes of a target for which the flag `name` is set."""
    return int(target[name].sum()) if name in target else 0
