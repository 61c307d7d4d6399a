"""From data sets to batches: decoding, augmentation and preprocessing in worker processes or a thread, in a reproducible order."""

from __future__ import annotations

import signal
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import islice
from types import FrameType
from typing import Any, Generic, TypeVar

import torch
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from zoo.data import Dataset, OnError, Sample
from zoo.errors import Fault, ImageError, InputError
from zoo.hardware import pick_decoding_threads
from zoo.images import Decoding
from zoo.prefetch import Job, in_order
from zoo.preprocess import ImageBatch, Preprocess
from zoo.sampling import Sampling
from zoo.seeding import derived_seed, seed_torch

Index = tuple[int, int, int]  # epoch, number of the draw in it, position in the manifest
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


@dataclass(frozen=True)
class TrainingPlan:
    """Which samples make which batch of a run: fixed by the seed, drawn anew every epoch, shared out over processes.

    Attributes:
        sampling: makes the batches of all processes together.
        epochs: how many.
        seed: of the draws and of the augmentation.
        rank: this process, of
        processes: so many.
    """

    sampling: Sampling
    epochs: int
    seed: int
    rank: int = 0
    processes: int = 1

    @cached_property
    def batches_per_epoch(self) -> int:
        """Batches of one process in an epoch."""
        return len(self.sampling)

    def shares_from(self, start: int) -> Iterator[Share]:
        """Yield this process's batches of all epochs, from batch number `start` on.

        Of each batch it is a stretch, as long as the other processes' or one longer.
        """
        first, skip = divmod(start, self.batches_per_epoch)
        for epoch in range(first, self.epochs):
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
            draw = 0
            for number, batch in enumerate(self.sampling.batches(generator)):
                begin, end = (len(batch) * rank // self.processes for rank in (self.rank, self.rank + 1))
                if epoch > first or number >= skip:
                    yield Share(epoch, draw + begin, batch[begin:end])
                draw += len(batch)

    def epoch(self, epoch: int) -> list[list[Index]]:
        """Return this process's batches of an epoch."""
        start = epoch * self.batches_per_epoch
        return [share.indices() for share in islice(self.shares_from(start), self.batches_per_epoch)]


@dataclass(frozen=True, slots=True)
class Share:
    """What of a batch one process has.

    Attributes:
        epoch: counted from 0.
        draw: of the first one, its number in the epoch.
        positions: in the data.
    """

    epoch: int
    draw: int
    positions: list[int]

    def indices(self) -> list[Index]:
        """Return each sample with all that its randomness depends on."""
        return [(self.epoch, self.draw + place, position) for place, position in enumerate(self.positions)]


@dataclass(frozen=True)
class _From:
    plan: TrainingPlan
    start: int

    def __len__(self) -> int:
        return self.plan.epochs * self.plan.batches_per_epoch - self.start

    def __iter__(self) -> Iterator[list[Index]]:
        return (share.indices() for share in self.plan.shares_from(self.start))


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
