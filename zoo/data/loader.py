"""Loaders, which decode, augment and preprocess samples into batches, in worker processes or threads and in a reproducible order."""

from __future__ import annotations

import signal
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from functools import partial
from types import FrameType
from typing import Any, Generic, Protocol, TypeVar, cast

import torch
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from zoo.data.dataset import Dataset, OnError, Sample
from zoo.data.sampling import Index, TrainingPlan, _From
from zoo.errors import Fault, ImageError, InputError
from zoo.images.decoding import Decoding
from zoo.images.headers import MAX_PIXELS
from zoo.images.preprocess import ImageBatch, Preprocess
from zoo.system.guard import check_main_guard
from zoo.system.hardware import pick_decoding_threads
from zoo.system.precision import Precision
from zoo.system.prefetch import Job, in_order
from zoo.system.progress import Progress
from zoo.system.reproducibility import derived_seed, seed_torch

_WHOLE = Decoding()
Images = TypeVar("Images", covariant=True)


@dataclass(frozen=True)
class Reading:
    """Settings for reading images and running models, which apply to every model and dataset of a command.

    They have the meaning of the parameters of `zoo.evaluate`, but `workers=0` means threads. `rank` is the index of this process.
    """

    batch_size: int | None = None
    workers: int | None = None
    precision: Precision = "auto"
    device: str = "auto"
    on_error: OnError = "raise"
    exact: bool = False
    max_pixels: int = MAX_PIXELS
    progress: Progress = field(default_factory=lambda: Progress(enabled=False))
    rank: int = 0
    processes: int = 1

    def decoding(self, min_size_hw: tuple[int, int] | None = None) -> Decoding:
        """Return the decoding settings for images that need at least `min_size_hw` pixels (height, width); None means full size."""
        return Decoding(None if self.exact else min_size_hw, self.max_pixels)

    def loader(self, dataset: Dataset, preprocess: Preprocess, batch_size: int, workers: int) -> Batches:
        """Return a loader over this process's share of a dataset, in order, without augmentation."""
        decoding = self.decoding(preprocess.min_size_hw)
        return evaluation_loader(dataset, preprocess, batch_size, workers, self.on_error, self.rank, self.processes, decoding)


@dataclass(frozen=True)
class Batch(Generic[Images]):
    """A batch for training or evaluation.

    Attributes:
        images: preprocessed images (`ImageBatch`) or pooled features of a frozen backbone (`PooledBatch`); None if all were skipped.
        targets: one target per image, in the dataset's format, after augmentation.
        keys: one key per image.
        skipped: images that couldn't be read and were skipped.
        source: index of the dataset, in a run over several.
    """

    images: Images | None
    targets: tuple[Any, ...]
    keys: tuple[str, ...]
    skipped: tuple[Fault, ...]
    source: int = 0


@dataclass(frozen=True)
class _Prepared:
    pixels: torch.Tensor
    original_hw: tuple[int, int]
    target: Any
    key: str


@dataclass(frozen=True)
class _PreparedDataset(TorchDataset[Any]):
    """Dataset of decoded, augmented and preprocessed samples, used within the workers."""

    dataset: Dataset
    preprocess: Preprocess
    decoding: Decoding
    on_error: OnError
    augment: Callable[[Sample], Sample] | None = None
    seed: int = 0

    def __getitem__(self, index: Index) -> _Prepared | Fault:
        epoch, draw, position = index
        record = self.dataset.records[position]
        try:
            image, original_hw = record.picture(self.decoding)
        except ImageError as error:
            # an error raised in a worker process would become a RuntimeError, so `Batches` raises it in the main process
            return Fault(error.key if self.on_error == "raise" else record.key, error.reason, whole=True, kind=error.kind)
        target = record.target
        if self.augment is not None:
            # augmentation depends only on seed, epoch and draw, not on workers, processes, batches or resuming
            with torch.random.fork_rng(devices=[]):
                seed_torch(derived_seed(self.seed, epoch, draw), torch.device("cpu"))
                sample = self.augment(Sample(image, target, record.key))
            image, target, original_hw = sample.image, sample.target, (sample.image.shape[0], sample.image.shape[1])
        return _Prepared(self.preprocess(image), original_hw, target, record.key)

    def collate(self, items: Sequence[_Prepared | Fault]) -> Batch[ImageBatch]:
        good = [item for item in items if isinstance(item, _Prepared)]
        images = self.preprocess.collate([item.pixels for item in good], [item.original_hw for item in good]) if good else None
        skipped = tuple(item for item in items if isinstance(item, Fault))
        return Batch(images, tuple(item.target for item in good), tuple(item.key for item in good), skipped)


class _Preparing(Protocol):
    """Samples that are prepared one at a time, and collated to batches."""

    @property
    def on_error(self) -> OnError: ...
    def __getitem__(self, index: Any) -> Any: ...
    def collate(self, items: Sequence[Any]) -> Batch[ImageBatch]: ...


class Batches:
    """Iterable over batches, which are prepared in worker processes, in threads, or one after the other in the calling thread.

    With `on_error="raise"`, the first unreadable image raises an `ImageError`.
    """

    def __init__(self, prepared: _Preparing, batches: Any, workers: int, threaded: bool = False) -> None:
        """Create the loader.

        Args:
            prepared: dataset of preprocessed samples.
            batches: sized iterable over the indices of each batch.
            workers: number of worker processes; 0 to prepare batches in the calling thread.
            threaded: whether to prepare batches in threads while the caller processes earlier ones; `workers` is then ignored.
        """
        self._prepared, self._batches = prepared, batches
        self._loader: DataLoader[Any] | None = None
        if not threaded:
            if workers:
                check_main_guard()
            self._loader = DataLoader(
                cast(TorchDataset[Any], prepared),
                batch_sampler=batches,
                num_workers=workers,
                collate_fn=prepared.collate,
                prefetch_factor=4 if workers else None,
                worker_init_fn=_leave_signals,
                # worker seeds are drawn from this generator: drawing them from the global one would change its state in a resumed run
                generator=torch.Generator(),
            )

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Generator[Batch[ImageBatch]]:
        """Iterate over the batches; closing the iterator ends the loader's processes or threads."""
        threads = pick_decoding_threads()
        jobs = (Job(partial(self._batch, indices)) for indices in self._batches)
        batches = in_order(jobs, threads, threads) if self._loader is None else iter(self._loader)
        with closing(batches) if isinstance(batches, Generator) else nullcontext():
            for batch in batches:
                if batch.skipped and self._prepared.on_error == "raise":
                    raise ImageError(batch.skipped[0].key, batch.skipped[0].reason, batch.skipped[0].kind)
                yield batch

    def _batch(self, indices: Sequence[Any]) -> Batch[ImageBatch]:
        return self._prepared.collate([self._prepared[index] for index in indices])


def evaluation_loader(
    dataset: Dataset,
    preprocess: Preprocess,
    batch_size: int,
    workers: int,
    on_error: OnError = "raise",
    rank: int = 0,
    processes: int = 1,
    decoding: Decoding = _WHOLE,
) -> Batches:
    """Return a loader over this process's share of a dataset, in order, without augmentation.

    Process r loads the samples r, r + processes, …, so that every sample is loaded exactly once. The shares are not padded to equal length.
    If `workers` is 0, batches are prepared in threads.
    """
    own = list(range(rank, len(dataset), processes))
    batches = [[(0, position, position) for position in own[start : start + batch_size]] for start in range(0, len(own), batch_size)]
    prepared = _PreparedDataset(dataset, preprocess, dataset.decoding(decoding), on_error)
    return Batches(prepared, batches, workers, threaded=not workers)


def training_loader(
    dataset: Dataset,
    preprocess: Preprocess,
    plan: TrainingPlan,
    workers: int,
    on_error: OnError,
    augment: Callable[[Sample], Sample],
    start: int = 0,
    decoding: Decoding = _WHOLE,
) -> Batches:
    """Return a loader of augmented batches over all epochs, starting with batch number `start`.

    If `decoding` allows a reduced scale, augmentation receives the smaller image together with the target of the full-size image. Use this
    only for targets without coordinates.
    """
    prepared = _PreparedDataset(dataset, preprocess, dataset.decoding(decoding), on_error, augment, plan.seed)
    return Batches(prepared, _From(plan, start), workers)


def _leave_signals(worker: int) -> None:
    """Ignore Ctrl-C and the first SIGTERM in a worker process, so that only the training process handles them.

    Terminals, torchrun and Slurm send these signals to every process of a command. A second SIGTERM ends the worker, because loaders send
    SIGTERM to workers that don't respond.
    """

    def once(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, once)


def pick_batch_size(batch_size: int | None, preprocess: Preprocess, device: torch.device) -> int:
    """Return the requested batch size; raise an `InputError` if it is below 1, or choose one if it is None.

    The size is at most 256, such that a batch has about as many pixels as 32 images of 224 × 224 pixels, or as 8 such images on the CPU.
    Larger batches exceed a CPU's cache: ResNet-50 takes a fifth longer per image in batches of 32 than in batches of 8, and engines aren't
    faster either.
    """
    if batch_size is None:
        height, width = preprocess.size_hw
        return min(256, max(1, (8 if device.type == "cpu" else 32) * 224 * 224 // (height * width)))
    if batch_size < 1:
        raise InputError(f"batch_size is {batch_size}; expected 1 or more")
    return batch_size
