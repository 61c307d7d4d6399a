"""From data sets to batches: decoding, augmentation and preprocessing in worker processes or a thread, in a reproducible order."""

from __future__ import annotations

import signal
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass
from functools import partial
from types import FrameType
from typing import Any, Generic, TypeVar

import torch
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from zoo.data.dataset import Dataset, OnError, Sample
from zoo.data.plan import Index, TrainingPlan, _From
from zoo.errors import Fault, ImageError, InputError
from zoo.images.decoding import Decoding
from zoo.images.preprocess import ImageBatch, Preprocess
from zoo.system.hardware import pick_decoding_threads
from zoo.system.prefetch import Job, in_order
from zoo.system.seeding import derived_seed, seed_torch

_WHOLE = Decoding()
Images = TypeVar("Images", covariant=True)


@dataclass(frozen=True)
class Batch(Generic[Images]):
    """What a loop gets: of prepared pictures (`ImageBatch`), or of what a frozen trunk has made of them (`PooledBatch`).

    Attributes:
        images: the pictures; None where every one of the batch was skipped.
        targets: one per picture, as the data set has them (after augmentation).
        keys: one per picture.
        skipped: pictures that could not be read and were left out on the caller's word.
    """

    images: Images | None
    targets: tuple[Any, ...]
    keys: tuple[str, ...]
    skipped: tuple[Fault, ...]


@dataclass(frozen=True)
class _Prepared:
    pixels: torch.Tensor
    original_hw: tuple[int, int]
    target: Any
    key: str


class _PreparedDataset(TorchDataset[Any]):
    """Decodes, augments and prepares single samples; runs in the workers."""

    def __init__(
        self,
        dataset: Dataset,
        preprocess: Preprocess,
        decoding: Decoding,
        on_error: OnError,
        augment: Callable[[Sample], Sample] | None = None,
        seed: int = 0,
    ) -> None:
        self.dataset, self.preprocess, self.decoding = dataset, preprocess, dataset.decoding(decoding)
        self.on_error, self.augment, self.seed = on_error, augment, seed

    def __getitem__(self, index: Index) -> _Prepared | Fault:
        epoch, draw, position = index
        record = self.dataset.records[position]
        try:
            image, original_hw = record.picture(self.decoding)
        except ImageError as error:
            # an error raised here would come out of a worker process as a RuntimeError: `Batches` raises it, in the main process
            return Fault(error.key if self.on_error == "raise" else record.key, error.reason, whole=True, kind=error.kind)
        target = record.target
        if self.augment is not None:
            # a sample's randomness depends on seed, epoch and draw alone: not on workers, processes, batches or resuming
            with torch.random.fork_rng(devices=[]):
                seed_torch(derived_seed(self.seed, epoch, draw), torch.device("cpu"))
                sample = self.augment(Sample(image, target, record.key))
            image, target, original_hw = sample.image, sample.target, (sample.image.shape[0], sample.image.shape[1])
        return _Prepared(self.preprocess(image), original_hw, target, record.key)


class _BesideTheNetwork:
    """The batches that a `DataLoader` without processes would make, made in a thread while the loop has those before."""

    def __init__(self, prepared: _PreparedDataset, batches: Sequence[Sequence[Index]]) -> None:
        self._prepared, self._batches, self._collate = prepared, batches, _Collate(prepared.preprocess)

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Generator[Batch[ImageBatch]]:
        threads = pick_decoding_threads()
        return in_order((Job(partial(self._batch, indices)) for indices in self._batches), threads, threads)

    def _batch(self, indices: Sequence[Index]) -> Batch[ImageBatch]:
        return self._collate([self._prepared[index] for index in indices])


class Batches:
    """The batches of a loader; with `on_error="raise"` the first picture that can't be read ends the iteration."""

    def __init__(self, loader: DataLoader[Any] | _BesideTheNetwork, on_error: OnError) -> None:
        """Wrap a loader."""
        self._loader, self._on_error = loader, on_error

    def __len__(self) -> int:
        """Return the number of batches."""
        return len(self._loader)

    def __iter__(self) -> Generator[Batch[ImageBatch]]:
        """Iterate over the batches; closing the iterator ends the loader's processes or thread.

        Raises:
            ImageError: a picture can't be read and `on_error` is "raise".
        """
        batches = iter(self._loader)
        with closing(batches) if isinstance(batches, Generator) else nullcontext():
            for batch in batches:
                if batch.skipped and self._on_error == "raise":
                    raise ImageError(batch.skipped[0].key, batch.skipped[0].reason, batch.skipped[0].kind)
                yield batch


@dataclass(frozen=True)
class _Collate:
    preprocess: Preprocess

    def __call__(self, items: Sequence[_Prepared | Fault]) -> Batch[ImageBatch]:
        good = [item for item in items if isinstance(item, _Prepared)]
        images = self.preprocess.collate([item.pixels for item in good], [item.original_hw for item in good]) if good else None
        skipped = tuple(item for item in items if isinstance(item, Fault))
        return Batch(images, tuple(item.target for item in good), tuple(item.key for item in good), skipped)


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
    """Return batches over the manifest in its order, every sample exactly once over all processes.

    Pictures are not padded up to equal shares: process r takes the samples r, r + processes, …
    Without workers a thread makes the batches.
    """
    own = list(range(rank, len(dataset), processes))
    batches = [[(0, position, position) for position in own[start : start + batch_size]] for start in range(0, len(own), batch_size)]
    prepared = _PreparedDataset(dataset, preprocess, decoding, on_error)
    return _loader(prepared, batches, workers) if workers else Batches(_BesideTheNetwork(prepared, batches), on_error)


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
    """Return one stream of augmented batches over all epochs, from batch number `start` on.

    With `decoding` at a reduced scale the augmentation gets the smaller picture and the target of the whole one: for targets
    without coordinates alone.
    """
    prepared = _PreparedDataset(dataset, preprocess, decoding, on_error, augment, plan.seed)
    return _loader(prepared, _From(plan, start), workers)


def _loader(prepared: _PreparedDataset, batches: Any, workers: int) -> Batches:
    loader = DataLoader(
        prepared,
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=_Collate(prepared.preprocess),
        pin_memory=False,
        prefetch_factor=4 if workers else None,
        worker_init_fn=_leave_signals,
        # workers' seeds come from here: drawn from the global generator they would shift what a resumed run draws from it
        generator=torch.Generator(),
    )
    return Batches(loader, prepared.on_error)


def _leave_signals(worker: int) -> None:
    """Leave Ctrl-C and SIGTERM, which come to every process of a command (terminal, torchrun, Slurm), to the process that trains.

    A second SIGTERM is obeyed: that is what a loader sends that gets no answer.
    """

    def once(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, once)


def pick_batch_size(batch_size: int | None, preprocess: Preprocess, device: torch.device) -> int:
    """Return the evaluation batch: about as many pixels as 32 pictures of 224 × 224, or as 8 where a processor computes.

    Larger batches leave a processor's cache: ResNet-50 takes a fifth longer for a picture among 32 than among 8, engines no less long.

    Args:
        batch_size: asked for; None for what suits.
        preprocess: whose size counts.
        device: that computes.

    Raises:
        InputError: below 1.
    """
    if batch_size is None:
        height, width = preprocess.size_hw
        return min(256, max(1, (8 if device.type == "cpu" else 32) * 224 * 224 // (height * width)))
    if batch_size < 1:
        raise InputError(f"batch_size is {batch_size}; expected 1 or more")
    return batch_size
