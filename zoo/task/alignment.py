"""Settings and result of aligning a dataset."""

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
        detector: detector of the regions to align, such as faces; accepts the same values as `detector` of `zoo.predict`.
        decoding: how images are decoded.
        skip: whether to skip images that can't be read. If False, they raise an error.
        progress: display of the progress bar.
        rank: index of this process. Each process aligns a different subset first, and loads the rest from the cache.
        processes: number of processes.
        kept: cache files used by this run. The aligner adds them here, so that they are not deleted when a later dataset is aligned.
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
        dataset: the aligned crops, with the keys of their images. Images without a detected region are not included.
        not_found: errors of images in which no region was detected, in dataset order.
        unreadable: errors of skipped images that can't be read.
        details: detector and settings, JSON-serialisable.
    """

    dataset: Dataset
    not_found: tuple[Fault, ...]
    unreadable: tuple[Fault, ...]
    details: Mapping[str, Any]

    @property
    def left_out(self) -> tuple[Fault, ...]:
        """Errors of all images that are not included in `dataset`."""
        return (*self.not_found, *self.unreadable)
