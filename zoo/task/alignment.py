"""Alignment of a dataset: its settings and its result."""

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
    """Settings for aligning a dataset.

    Attributes:
        detector: detector of the parts that models answer for, as in `zoo.predict`.
        decoding: how images are decoded.
        skip: whether to skip images that can't be read; otherwise they are an error.
        progress: display of the progress bar.
        rank: index of this process. Each process starts with a different part of the data and finds the other parts in the cache.
        processes: number of processes.
        kept: cache files that this run uses, added by the aligner. They are protected when the cache is trimmed after a later dataset.
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
    """Result of aligning a dataset.

    Attributes:
        dataset: the aligned crops under the keys of their images; contains only images in which a part was found.
        not_found: images without a part, in dataset order.
        unreadable: skipped images that can't be read.
        details: detector and settings used, JSON-ready.
    """

    dataset: Dataset
    not_found: tuple[Fault, ...]
    unreadable: tuple[Fault, ...]
    details: Mapping[str, Any]

    @property
    def left_out(self) -> tuple[Fault, ...]:
        """All images that are missing from `dataset`."""
        return (*self.not_found, *self.unreadable)
