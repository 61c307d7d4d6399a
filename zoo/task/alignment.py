"""Data whose pictures were cut out and aligned before a model sees them, and what was not found in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zoo.data.dataset import Dataset
from zoo.errors import Fault
from zoo.images.decoding import Decoding
from zoo.system.progress import Progress


@dataclass(frozen=True)
class Aligning:
    """How a data set is aligned.

    Attributes:
        detector: what finds the parts that models answer for, as in `zoo.predict`.
        decoding: how pictures are read.
        skip: whether a picture that can't be read is left out.
        progress: where the bar is drawn.
        rank: which of the processes this one is: each begins with another part of the data, and finds those of the others done.
        processes: how many there are.
        kept: files of the cache that this run reads, filled by what aligns: of one data set they outlast the tidying after the next.
    """

    detector: object
    decoding: Decoding
    skip: bool
    progress: Progress
    rank: int = 0
    processes: int = 1
    kept: set[Path] = field(default_factory=set)


@dataclass(frozen=True)
class Aligned:
    """What became of a data set.

    Attributes:
        dataset: the aligned pictures under their old keys, those in which something was found.
        not_found: the others, in their order.
        unreadable: pictures that can't be read, and were left out.
        details: how it was done, JSON-ready.
    """

    dataset: Dataset
    not_found: tuple[Fault, ...]
    unreadable: tuple[Fault, ...]
    details: Mapping[str, Any]

    @property
    def left_out(self) -> tuple[Fault, ...]:
        """What is not in the data."""
        return (*self.not_found, *self.unreadable)
