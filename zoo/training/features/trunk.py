"""Training of a head on cached features of a frozen backbone: when it is possible, and the batches of features that replace images."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch

from zoo.backbones import frozen_stages
from zoo.data.dataset import Dataset
from zoo.data.fingerprint import data_fingerprint
from zoo.data.loader import Batch
from zoo.models.model import Model
from zoo.models.passes import differences
from zoo.system.processes import Processes
from zoo.task.head import PooledBatch, PooledHead
from zoo.task.recipe import RunRecipe
from zoo.training.features.cache import FeatureCache
from zoo.training.features.engine import usable_engines
from zoo.training.features.file import FeatureRows
from zoo.training.mixing import MixedPlan

_SIGN_SECONDS = 20.0  # interval at which the computing process joins a collective operation, so that the other processes don't time out
_SMALL = 2**24  # multiplications of a head per batch below which a second thread isn't faster


def learns_from_features(model: Model, recipe: RunRecipe, heads: Sequence[str] | None = None) -> bool:
    """Return whether a run can train on cached features: the backbone stays frozen, and pooled features of one pass are enough.

    `heads` are the names of the trained heads; None for all.
    """
    return recipe.feature_cache and is_whole(model) and not recipe.unfreeze_every and _obstacle(model, heads) is None


def has_small_heads(model: Model, heads: Sequence[str], batch_size: int) -> bool:
    """Return whether training steps of the heads are so small that neither a second thread nor 16-bit precision makes them faster."""
    return sum(parameter.numel() for name in heads for parameter in model.heads[name].parameters()) * batch_size < _SMALL


def why_not(model: Model, recipe: RunRecipe, heads: Sequence[str] | None = None) -> str | None:
    """Return the reason why a completely frozen backbone's features can't be cached; None if they can, or if the cache is disabled."""
    if not is_whole(model) or not recipe.feature_cache:
        return None
    if recipe.unfreeze_every:
        return "the frozen backbone runs in every epoch: its stages are unfrozen later (unfreeze_every), so its features can't be cached"
    found = _obstacle(model, heads)
    return None if found is None else f"the frozen backbone runs in every epoch: {found}"


def _obstacle(model: Model, heads: Sequence[str] | None) -> str | None:
    """Return why the heads can't be trained on pooled features; None if they can."""
    names = [*model.heads] if heads is None else heads
    adapted = [name for name in names if name in model.adapters]
    if adapted:
        return f"the adapters of {', '.join(adapted)} are trained, so its features can't be cached"
    needing = [name for name in names if not isinstance(model.heads[name], PooledHead)]
    if needing:
        whose = ", ".join(needing) if model.is_joint else model.config.task
        return f"the head of {whose} needs full feature maps, which the cache doesn't hold"
    ways = model.passes(names)
    if len(ways) > 1:
        return f"the cache holds the features of one pass, but the heads need {len(ways)} ({differences(ways)})"
    return None


def is_whole(model: Model) -> bool:
    """Return whether the whole backbone is frozen."""
    return frozen_stages(model.backbone, model.config.freeze)[0] == len(model.backbone.stages())


def pooled_data(cache: FeatureCache, dataset: Dataset, processes: Processes) -> PooledData:
    """Return a dataset with its features. The first process computes them, and the other processes load them from the cache.

    If a process doesn't find them in the cache (it runs on another machine, or they don't fit into the cache), it computes them itself. It
    uses the same engine as the first process, which chooses among the engines that are available to all processes. While the first process
    computes features, which may take hours, it regularly joins a collective operation, because the others wait only for minutes.
    """
    usable = usable_engines(cache.model, cache.precision)
    if processes.count == 1:
        return PooledData(dataset, replace(cache, engines=tuple(usable)).rows(dataset))
    everywhere = Counter(processes.joined(usable))
    if not processes.first:
        while not processes.sums(0)[0]:
            pass
        return PooledData(dataset, cache.rows(dataset, processes.joined(list[str]())[0]))
    last = time.monotonic()

    def alive() -> None:
        nonlocal last
        if time.monotonic() - last > _SIGN_SECONDS:
            processes.sums(0)
            last = time.monotonic()

    engines = tuple(name for name in usable if everywhere[name] == processes.count)
    data = PooledData(dataset, replace(cache, alive=alive, engines=engines).rows(dataset))
    processes.sums(1)
    processes.joined([data.features.engine])
    return data


@dataclass(frozen=True)
class PooledData:
    """A dataset with its pooled features."""

    dataset: Dataset  # only its keys and targets are used
    features: FeatureRows

    @cached_property
    def fingerprint(self) -> str:
        """Fingerprint of the dataset. It is computed only once, because valid cached features mean that no image has changed."""
        return data_fingerprint(self.dataset)

    @cached_property
    def _columns(self) -> tuple[list[str], list[Any]]:
        """Keys and targets of all samples, collected once, because collecting them per batch would take longer than a training step."""
        return [record.key for record in self.dataset.records], [record.target for record in self.dataset.records]

    def evaluation(self, batch_size: int, rank: int, processes: int) -> PooledBatches:
        """Return the same batches as `evaluation_loader`, but with pooled features."""
        own = range(rank, len(self.dataset), processes)
        return PooledBatches(self, [own[start : start + batch_size] for start in range(0, len(own), batch_size)])

    def batch(self, positions: Sequence[int], source: int = 0) -> Batch[PooledBatch]:
        """Return the batch with the samples at these positions. Errors of unreadable samples are in `Batch.skipped`."""
        keys, targets = self._columns
        faults = self.features.faults
        good = [position for position in positions if position not in faults] if faults else positions
        skipped = tuple(faults[position] for position in positions if position in faults) if faults else ()
        pooled = PooledBatch(self.features.rows[torch.tensor(good)]) if good else None
        return Batch(pooled, tuple(targets[position] for position in good), tuple(keys[position] for position in good), skipped, source)


def pooled_batches(parts: Sequence[PooledData], plan: MixedPlan, start: int) -> Generator[Batch[PooledBatch]]:
    """Return the same batches as `mixed_loader`, from batch number `start`, but with pooled features and without augmentation."""
    return (parts[share.source].batch(share.positions, share.source) for share in plan.shares_from(start))


@dataclass(frozen=True)
class PooledBatches:
    """Batches of pooled features in a fixed order."""

    data: PooledData
    positions: Sequence[Sequence[int]]  # of each batch's samples in the dataset

    def __len__(self) -> int:
        """Return the number of batches."""
        return len(self.positions)

    def __iter__(self) -> Generator[Batch[PooledBatch]]:
        """Iterate over the batches."""
        return (self.data.batch(positions) for positions in self.positions)
