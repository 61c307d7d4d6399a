"""The pooled features of data under a frozen trunk: computed once, and kept for the next run in files that are mapped into memory."""

from __future__ import annotations

import errno
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray

from zoo.data.dataset import Dataset, OnError
from zoo.data.loader import Batches, evaluation_loader, pick_batch_size
from zoo.errors import Fault
from zoo.images.decoding import Decoding
from zoo.images.preprocess import ImageBatch
from zoo.models.model import Model
from zoo.system.cache import LIMIT_BYTES, cache_folder, mark_used, shrink
from zoo.system.files import write_atomic
from zoo.system.hardware import Precision, autocast, pick_workers
from zoo.system.progress import Progress
from zoo.task.pooling import PooledHead
from zoo.training.features.engine import AsBefore, Computing, Quickest
from zoo.training.features.file import FeatureRows, Turns, file_bytes, map_rows, write_rows
from zoo.training.features.key import feature_key


@dataclass(frozen=True)
class FeatureCache:
    """What turns pictures into pooled features, or finds them where they were turned before.

    Attributes:
        model: on its device; its head is a `PooledHead`.
        precision: of the trunk's matrix work.
        decoding: how pictures are read.
        on_error: "skip" leaves out what can't be read.
        workers: loader processes; None for what suits the machine.
        progress: where the bar and a line are drawn.
        alive: called after every batch that the trunk has seen.
        engines: that may compute features where they are quicker (`zoo.training.features.engine`); none for eager throughout.
    """

    model: Model
    precision: Precision
    decoding: Decoding
    on_error: OnError
    workers: int | None
    progress: Progress
    alive: Callable[[], None] = lambda: None
    engines: tuple[str, ...] = ()

    def rows(self, dataset: Dataset, turns: Turns | None = None) -> FeatureRows:
        """Return the features of a data set: kept ones, or new ones, which are kept.

        Where the folder of the cache has no room or can't be written to, a temporary file takes its place for this run.

        Args:
            dataset: the pictures.
            turns: in which features were computed that a run began with, and must go on with; None where any will do.

        Raises:
            ImageError: a picture can't be read and `on_error` is "raise".
            InputError: features must be computed by an engine that isn't usable here.
            OSError: there is no room for a temporary file either.
        """
        preprocess = self.model.preprocess
        shape = (len(dataset), self.model.backbone.levels[-1].channels)
        path = cache_folder("features") / f"{feature_key(self.model, dataset, preprocess, self.decoding, self.precision)}.npy"
        kept = self._kept(path, shape, turns)
        if kept is not None:
            return kept
        try:
            _check_room(path, file_bytes(shape))
            write_atomic(path, lambda file: self._write(file, shape, dataset, turns))
            shrink(path.parent, LIMIT_BYTES, keep={path})
            with path.open("rb") as file:
                rows = map_rows(file, shape)
            self.progress.say(f"features of {len(dataset)} pictures are kept in {path}")
        except OSError as error:
            self.progress.say(f"features can't be kept in {path.parent} ({error.strerror}): a temporary file holds them for this run")
            with tempfile.TemporaryFile() as temporary:
                self._write(temporary, shape, dataset, turns)
                rows = map_rows(temporary, shape)
        assert rows is not None, "it was written a moment ago"
        return rows

    def _kept(self, path: Path, shape: tuple[int, int], turns: Turns | None) -> FeatureRows | None:
        try:
            file: BinaryIO = path.open("rb")
        except OSError:
            return None
        with file:
            rows = map_rows(file, shape)
        if rows is None:
            self.progress.say(f"{path} is damaged: the features are computed anew")
        elif rows.faults and self.on_error == "raise":
            return None  # reading the pictures again says which one is bad
        elif turns is not None and rows.turns != turns:
            return None  # another run's, whose last bits are others
        else:
            mark_used(path)
            self.progress.say(f"features of {shape[0]} pictures are taken from {path}")
        return rows

    def _write(self, file: BinaryIO, shape: tuple[int, int], dataset: Dataset, turns: Turns | None) -> None:
        preprocess, workers, faults = self.model.preprocess, pick_workers(self.workers, len(dataset)), dict[int, Fault]()
        size = pick_batch_size(None, preprocess, self.model.device)
        loader = evaluation_loader(dataset, preprocess, size, workers, self.on_error, decoding=self.decoding)
        computing = self._computing(len(loader), turns)
        write_rows(file, shape, self._blocks(dataset, loader, size, computing, faults), faults, lambda: computing.turns)

    def _computing(self, batches: int, turns: Turns | None) -> Computing:
        model, precision = self.model, self.precision

        def eager(images: ImageBatch) -> NDArray[np.float32]:
            return pooled_features(model, images.to(model.device), precision)

        if turns is not None:
            return AsBefore(model, precision, turns, eager)
        return Quickest(model, precision, batches, self.engines, eager, self.progress.say)

    def _blocks(
        self, dataset: Dataset, loader: Batches, size: int, computing: Computing, faults: dict[int, Fault]
    ) -> Iterator[NDArray[np.float32]]:
        """Yield [B, C] by and by, and note the pictures that can't be read."""
        model, training = self.model, self.model.training
        model.eval()
        try:
            for number, batch in enumerate(self.progress.track(loader, "features", len(loader))):
                first = number * size
                places = {record.key: place for place, record in enumerate(dataset.records[first : first + size])}
                block = np.full((len(places), model.backbone.levels[-1].channels), np.nan, np.float32)
                faults.update({first + places[fault.key]: fault for fault in batch.skipped})
                if batch.images is not None:
                    block[[places[key] for key in batch.keys]] = computing(number, batch.images)
                yield block
                self.alive()
        finally:
            model.train(training)


def _check_room(path: Path, needed: int) -> None:
    """Refuse a file for which there is no room, before an hour is spent on it.

    Raises:
        OSError: as if it had been written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if needed > min(LIMIT_BYTES, shutil.disk_usage(path.parent).free):
        raise OSError(errno.ENOSPC, f"no room for {needed / 1e6:.0f} MB")


def pooled_features(model: Model, images: ImageBatch, precision: Precision) -> NDArray[np.float32]:
    """Return what a head gets to see of pictures, computed in eager: [B, C]."""
    head = model.head
    assert isinstance(head, PooledHead)
    with torch.inference_mode(), autocast(precision, model.device):
        pooled: NDArray[np.float32] = head.pool(model.features(images)).cpu().numpy()
    return pooled
