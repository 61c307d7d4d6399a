"""How the batches of several training datasets are mixed, how many of each an epoch has, and the loader of the mixture."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch.utils.data import Dataset as TorchDataset

from zoo.data.dataset import Dataset, OnError, Sample
from zoo.data.loader import Batch, Batches, _Prepared, _PreparedDataset
from zoo.data.sampling import Index, Sampling, Share, TrainingPlan
from zoo.errors import Fault
from zoo.images.decoding import Decoding
from zoo.images.preprocess import ImageBatch, Preprocess
from zoo.system.reproducibility import derived_seed


def batch_counts(batches: Sequence[int], temperature: float) -> tuple[int, ...]:
    """Return how many batches of each dataset an epoch has, at least one.

    The shares are proportional to n^(1 / temperature), where n is the number of batches of a dataset; see e.g. Arivazhagan et al. 2019,
    arXiv 1907.05019, section 4. The epoch has as many batches as all datasets together, up to rounding.

    Args:
        batches: number of batches that contain every sample of a dataset once.
        temperature: 1 draws every sample once; infinity draws the same number of batches from each dataset.
    """
    total = sum(batches)
    if temperature == 1:
        return tuple(batches)
    if math.isinf(temperature):
        return (math.ceil(total / len(batches)),) * len(batches)
    largest = max(batches)  # a fraction of it can't overflow
    weights = [(count / largest) ** (1 / temperature) for count in batches]
    exact = [total * weight / sum(weights) for weight in weights]
    counts = [math.floor(value) for value in exact]
    by_rest = sorted(range(len(exact)), key=lambda place: counts[place] - exact[place])
    for place in by_rest[: total - sum(counts)]:
        counts[place] += 1
    return tuple(max(1, count) for count in counts)


@dataclass(frozen=True)
class MixedPlan:
    """Assignment of samples to the batches of a run over one or several datasets.

    The batches of a dataset follow each other as in a run over this dataset alone, and continue in the next epoch of the run where the
    last one has stopped, so that its samples are drawn equally often. The datasets alternate in an order that is random in every epoch.

    Attributes:
        plans: plan of each dataset.
        counts: number of batches of each dataset per epoch of the run.
        epochs: number of epochs of the run.
    """

    plans: tuple[TrainingPlan, ...]
    counts: tuple[int, ...]
    epochs: int

    @classmethod
    def of(
        cls, samplings: Sequence[Sampling], counts: Sequence[int], epochs: int, seed: int, rank: int = 0, processes: int = 1
    ) -> MixedPlan:
        """Create the plan for datasets with these samplers. The other arguments are those of this class and of `TrainingPlan`."""
        needed = [math.ceil(count * epochs / len(sampling)) for count, sampling in zip(counts, samplings, strict=True)]
        plans = (TrainingPlan(sampling, own, seed, rank, processes) for sampling, own in zip(samplings, needed, strict=True))
        return cls(tuple(plans), tuple(counts), epochs)

    @property
    def rank(self) -> int:
        """Index of this process."""
        return self.plans[0].rank

    @property
    def processes(self) -> int:
        """Number of processes."""
        return self.plans[0].processes

    @cached_property
    def batches_per_epoch(self) -> int:
        """Number of batches per epoch and process."""
        return sum(self.counts)

    def order(self, epoch: int) -> list[int]:
        """Return the index of the dataset of each batch of an epoch."""
        every = [place for place, count in enumerate(self.counts) for _ in range(count)]
        if len(self.counts) == 1:
            return every
        generator = torch.Generator().manual_seed(derived_seed(self.plans[0].seed, epoch))
        return [every[place] for place in torch.randperm(len(every), generator=generator).tolist()]

    def shares_from(self, start: int) -> Iterator[Share]:
        """Yield this process's share of every batch of the run, starting with batch number `start`, counted over all epochs from 0."""
        first, skip = divmod(start, self.batches_per_epoch)
        done = self.order(first)[:skip]
        own = [plan.shares_from(first * self.counts[place] + done.count(place)) for place, plan in enumerate(self.plans)]
        for epoch in range(first, self.epochs):
            for place in self.order(epoch)[skip if epoch == first else 0 :]:
                yield replace(next(own[place]), source=place)


@dataclass(frozen=True)
class TrainingSource:
    """A training dataset, and how its images are prepared.

    Attributes:
        dataset: the dataset.
        preprocess: preprocessing of the augmented images.
        augment: augmentation of each sample.
        decoding: how images are decoded; see `training_loader`.
    """

    dataset: Dataset
    preprocess: Preprocess
    augment: Callable[[Sample], Sample]
    decoding: Decoding

    def prepared(self, on_error: OnError, seed: int) -> _PreparedDataset:
        """Return the dataset of augmented and preprocessed samples."""
        return _PreparedDataset(self.dataset, self.preprocess, self.dataset.decoding(self.decoding), on_error, self.augment, seed)


@dataclass(frozen=True)
class _PreparedSources(TorchDataset[Any]):
    """Several datasets of prepared samples. An index starts with that of the dataset; all samples of a batch are of one dataset."""

    parts: tuple[_PreparedDataset, ...]
    on_error: OnError

    def __getitem__(self, index: tuple[int, Index]) -> tuple[int, _Prepared | Fault]:
        source, own = index
        return source, self.parts[source][own]

    def collate(self, items: Sequence[tuple[int, _Prepared | Fault]]) -> Batch[ImageBatch]:
        source = items[0][0]
        return replace(self.parts[source].collate([item for _, item in items]), source=source)


def mixed_loader(sources: Sequence[TrainingSource], plan: MixedPlan, workers: int, on_error: OnError, start: int = 0) -> Batches:
    """Return a loader like `training_loader` over several datasets, with the batches of `plan`, which share its processes."""
    parts = tuple(source.prepared(on_error, own.seed) for source, own in zip(sources, plan.plans, strict=True))
    return Batches(_PreparedSources(parts, on_error), _MixedFrom(plan, start), workers)


@dataclass(frozen=True)
class _MixedFrom:
    plan: MixedPlan
    start: int

    def __len__(self) -> int:
        return self.plan.epochs * self.plan.batches_per_epoch - self.start

    def __iter__(self) -> Iterator[list[tuple[int, Index]]]:
        return ([(share.source, index) for index in share.indices()] for share in self.plan.shares_from(self.start))
