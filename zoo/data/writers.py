"""A data set on its way from one format into another: pictures under their own names, with targets and splits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from zoo.data.dataset import Record


@dataclass(frozen=True)
class Picture:
    """One picture.

    Attributes:
        name: its path in the data, with `/`, free of the folders that only belong to the old format.
        record: where it comes from, and its target; labels count in the order of `Content.classes`.
        splits: those it lies in; empty where the data has none.
    """

    name: str
    record: Record
    splits: tuple[str, ...] = ()


def _nowhere(picture: Picture, path: Path) -> None:
    raise AssertionError("content is given a place for its pictures before it is written")


@dataclass(frozen=True)
class Content:
    """A data set, free of its format.

    Attributes:
        classes: the names, in their order.
        splits: the names, in the order they were found in; empty where the data has none.
        pictures: in the order of the data.
        put: places a picture's file, byte for byte, at a path.
    """

    classes: tuple[str, ...]
    splits: tuple[str, ...]
    pictures: tuple[Picture, ...]
    put: Callable[[Picture, Path], None] = _nowhere

    def of_split(self, split: str) -> tuple[Picture, ...]:
        """Return the pictures of a split; all where the name is empty."""
        return tuple(picture for picture in self.pictures if not split or split in picture.splits)


@dataclass(frozen=True)
class Writer:
    """Writes one format of one task.

    Attributes:
        write: writes content into an empty folder.
        losses: names what the format can't hold of a content: what would be lost, one sentence each.
        path: what follows the scheme's name when the result is opened, relative to the folder ("" for the folder itself).
    """

    write: Callable[[Content, Path], None]
    losses: Callable[[Content], Sequence[str]] = lambda content: ()
    path: str = ""


def same_stem(pictures: Sequence[Picture]) -> list[tuple[str, str]]:
    """Return pairs of pictures whose names differ in their suffix alone: formats with one file per picture can't tell them apart."""
    seen: dict[PurePosixPath, str] = {}
    pairs = []
    for picture in pictures:
        stem = PurePosixPath(picture.name).with_suffix("")
        if stem in seen:
            pairs.append((seen[stem], picture.name))
        seen.setdefault(stem, picture.name)
    return pairs


def count(target: Mapping[str, Any], name: str) -> int:
    """Return how many boxes of a target are marked so."""
    return int(target[name].sum()) if name in target else 0
