"""Cache of pooled features of a frozen backbone, stored in memory-mapped files."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from zoo.data.dataset import Dataset, OnError, Record
from zoo.data.loader import Batches, evaluation_loader, pick_batch_size
from zoo.errors import Fault
from zoo.images.decoding import Decoding
from zoo.models.fingerprint import trunk_fingerprint
from zoo.models.inference import evaluation_mode
from zoo.models.model import Model
from zoo.system.cache import LIMIT_BYTES, cache_folder, mark_used, shrink
from zoo.system.files import write_atomic
from zoo.system.hardware import pick_workers
from zoo.system.precision import Precision
from zoo.system.progress import Progress
from zoo.system.reproducibility import versions
from zoo.training.features.engine import Compute, choose_engine, eager_features, engine_features
from zoo.training.features.file import FeatureRows, file_bytes, map_rows, write_rows

_FORMAT = 3  # version of the file format; files with other versions are ignored
_PACKAGES = ("resnet-zoo", "torch", "torchvision", "timm", "opencv-python")  # packages whose versions may affect the features


@dataclass(frozen=True)
class FeatureCache:
    """Cache that computes the pooled features of datasets or loads them from files."""

    model: Model  # on its device, with a `PooledHead`
    precision: Precision
    decoding: Decoding
    on_error: OnError
    workers: int | None
    progress: Progress
    alive: Callable[[], None] = lambda: None  # called after each computed batch
    engines: tuple[str, ...] = ()  # those that `choose_engine` may choose in addition to eager

    def rows(self, dataset: Dataset, engine: str | None = None) -> FeatureRows:
        """Return the features of a dataset, loaded from the cache or computed and saved.

        If `engine` is None, cached features of eager or any of `engines` are used; if there are none, `choose_engine` chooses an engine. If
        the cache folder can't be written to, the features are stored in a temporary file for this run.
        """
        key = feature_key(self.model, dataset, self.decoding, self.precision)
        shape = (len(dataset), self.model.backbone.levels[-1].channels)
        names = ("eager", *self.engines) if engine is None else (engine,)
        for name in names:
            kept = self._kept(_path(key, name), shape, name)
            if kept is not None:
                return kept
        if engine is None:  # an unusable file, such as a damaged one, is computed again with the same engine
            engine = next((name for name in names if os.path.exists(_path(key, name))), None) or self._chosen(dataset)
        path = _path(key, engine)
        try:
            _check_room(path, file_bytes(shape))
            write_atomic(path, lambda file: self._write(file, shape, dataset, engine))
            shrink(path.parent, LIMIT_BYTES, keep={path})
            with path.open("rb") as file:
                rows = map_rows(file, shape)
            self.progress.say(f"features of {len(dataset)} images were saved to {path}")
        except OSError as error:
            self.progress.say(f"features can't be saved to {path.parent} ({error.strerror}); using a temporary file for this run")
            with tempfile.TemporaryFile() as temporary:
                self._write(temporary, shape, dataset, engine)
                rows = map_rows(temporary, shape)
        assert rows is not None, "the file was just written"
        return replace(rows, engine=engine)

    def _kept(self, path: Path, shape: tuple[int, int], engine: str) -> FeatureRows | None:
        """Return cached features; None if there are no usable ones."""
        try:
            file: BinaryIO = path.open("rb")
        except OSError:
            return None
        with file:
            rows = map_rows(file, shape)
        if rows is None:
            self.progress.say(f"{path} is damaged; computing the features again")
            return None
        if rows.faults and self.on_error == "raise":
            return None  # the images are read again, which raises the error of the first unreadable image
        mark_used(path)
        self.progress.say(f"features of {shape[0]} images were loaded from {path}")
        return replace(rows, engine=engine)

    def _loader(self, dataset: Dataset, workers: int) -> Batches:
        return evaluation_loader(dataset, self.model.preprocess, self._batch_size, workers, self.on_error, decoding=self.decoding)

    @property
    def _batch_size(self) -> int:
        return pick_batch_size(None, self.model.preprocess, self.model.device)

    def _chosen(self, dataset: Dataset) -> str:
        """Choose an engine with the first batch that contains a readable image, and return its name."""
        if not self.engines:
            return "eager"
        loader = self._loader(dataset, workers=0)
        with closing(iter(loader)) as batches, evaluation_mode(self.model):
            first = next((batch.images for batch in batches if batch.images is not None), None)
            if first is None:
                return "eager"
            return choose_engine(self.model, self.precision, first, len(loader), self.engines, self.progress.say)

    def _write(self, file: BinaryIO, shape: tuple[int, int], dataset: Dataset, engine: str) -> None:
        faults: dict[int, Fault] = {}
        write_rows(file, shape, self._blocks(dataset, engine, faults), faults)

    def _blocks(self, dataset: Dataset, engine: str, faults: dict[int, Fault]) -> Iterator[NDArray[np.float32]]:
        """Yield the features batch by batch, [B, C]. Errors of unreadable images, whose rows are NaN, are added to `faults`."""
        model, size, loader = self.model, self._batch_size, self._loader(dataset, pick_workers(self.workers, len(dataset)))
        with evaluation_mode(model):
            compute: Compute = partial(eager_features, model, precision=self.precision)
            if engine != "eager":
                compute = engine_features(model, engine, self.precision)
            for number, batch in enumerate(self.progress.track(loader, "features", len(loader))):
                first = number * size
                places = {record.key: place for place, record in enumerate(dataset.records[first : first + size])}
                block = np.full((len(places), model.backbone.levels[-1].channels), np.nan, np.float32)
                faults.update({first + places[fault.key]: fault for fault in batch.skipped})
                if batch.images is not None:
                    block[[places[key] for key in batch.keys]] = compute(batch.images)
                yield block
                self.alive()


def _path(key: str, engine: str) -> Path:
    return cache_folder("features") / f"{key}-{engine}.npy"


def _check_room(path: Path, needed: int) -> None:
    """Create the folder of a file. Raise an `OSError` if `needed` bytes exceed the free space or the limit of the cache."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if needed > min(LIMIT_BYTES, shutil.disk_usage(path.parent).free):
        raise OSError(errno.ENOSPC, f"no room for {needed / 1e6:.0f} MB")


def feature_key(model: Model, dataset: Dataset, decoding: Decoding, precision: Precision) -> str:
    """Return the cache key of the pooled features of a dataset. It depends on the order of the images.

    An image file is identified by its path, size, inode, modification time and status change time (ctime). The latter differs for a copy
    that preserves the modification time. Images in memory, generated or stored in larger files are identified by their pixels. Targets and
    the model's head don't affect the key.
    """
    installed = versions()
    settings = {
        "format": _FORMAT,
        "trunk": trunk_fingerprint(model),
        "preprocess": model.preprocess.to_dict(),
        "decoding": asdict(dataset.decoding(decoding)),
        "precision": precision,
        "device": model.device.type,
        "versions": {name: installed.get(name) for name in _PACKAGES},
    }
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for line in _images(dataset.records):
        digest.update(line)
    return digest.hexdigest()[:32]


def _images(records: tuple[Record, ...]) -> Iterator[bytes]:
    folder = os.getcwd()
    for record in records:
        source = record.source
        if isinstance(source, Path):
            path = os.path.join(folder, source)
            try:
                found = os.stat(path)
                state = f"{found.st_size} {found.st_mtime_ns} {found.st_ctime_ns} {found.st_ino}"
            except OSError:  # the error is reported when the image is read
                state = "missing"
            yield f"{path}\0{state}\n".encode("utf-8", "surrogateescape")
        else:
            image = np.ascontiguousarray(source() if callable(source) else source)
            yield f"{image.shape}".encode() + hashlib.blake2b(image.data).digest()
