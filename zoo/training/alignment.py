"""The data of a run, aligned before anything learns from it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from zoo.data.dataset import Dataset
from zoo.data.reading import Reading
from zoo.errors import DataError, InputError
from zoo.images.decoding import Decoding
from zoo.models.model import Model
from zoo.system.processes import Processes
from zoo.system.progress import Progress
from zoo.task.alignment import Aligned, Aligning
from zoo.task.contract import Task


@dataclass(frozen=True)
class Alignment:
    """How the data of one run is aligned.

    Attributes:
        model: the one that is trained; its preprocessing names the template.
        task: the model's.
        detector: what finds the parts that are aligned.
        reading: how pictures are read.
        processes: this one and the others.
        progress: where the bar and a line are drawn.
        details: of what was aligned so far, by "data" and "val", JSON-ready.
        kept: files of the cache that the run reads.
    """

    model: Model
    task: Task
    detector: object
    reading: Reading
    processes: Processes
    progress: Progress
    details: dict[str, Any] = field(default_factory=dict)
    kept: set[Path] = field(default_factory=set)

    def training(self, dataset: Dataset) -> Dataset:
        """Return the data to learn from, aligned.

        Raises:
            InputError: the model says of no template that it learns from it.
            DataError: pictures in which nothing was found, and they aren't to be skipped.
        """
        if self.model.preprocess.alignment is None:
            raise InputError(
                f"align: the model, for the task {self.task.name}, has no template to align to; a face model has one that is built with "
                'alignment= (--alignment), such as "arcface"'
            )
        aligned = self._aligned(dataset, "data")
        if aligned.not_found and self.reading.on_error == "raise":
            raise DataError(
                f"data {dataset.name!r}: nothing to align was found in {len(aligned.not_found)} of its {len(dataset)} pictures:",
                aligned.not_found,
                'Leave them out with --skip-bad (on_error="skip").',
            )
        for fault in aligned.left_out:
            self.progress.say(f"left out: {fault}")
        return replace(aligned.dataset, skipped=(*dataset.skipped, *aligned.left_out))

    def validation(self, dataset: Dataset | None) -> Dataset | None:
        """Return the data to score on, aligned; pictures in which nothing was found count as skipped."""
        if dataset is None:
            return None
        aligned = self._aligned(dataset, "val")
        return replace(aligned.dataset, skipped=(*dataset.skipped, *aligned.left_out))

    def _aligned(self, dataset: Dataset, name: str) -> Aligned:
        reading, processes = self.reading, self.processes
        how = Aligning(
            self.detector,
            Decoding(max_pixels=reading.max_pixels),
            reading.on_error == "skip",
            self.progress,
            processes.rank,
            processes.count,
            self.kept,
        )
        aligned = self.task.align(dataset, [self.model], how)
        self.details[name] = dict(aligned.details)
        return aligned
