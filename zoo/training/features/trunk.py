"""Conditions for training a head on cached features of a frozen backbone, and loading of the features in one or several processes."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from zoo.backbones.freezing import frozen_stages
from zoo.data.dataset import Dataset
from zoo.system.processes import Processes
from zoo.task.pooling import PooledHead
from zoo.training.features.batches import PooledData
from zoo.training.features.cache import FeatureCache
from zoo.training.features.engine import usable_engines

if TYPE_CHECKING:
    from zoo.models.model import Model
    from zoo.task.recipe import Recipe

_SIGN_SECONDS = 20.0  # interval at which the computing process joins a collective operation, so that the other processes don't time out
_SMALL = 2**24  # multiplications of a head per batch below which a second thread isn't faster


def learns_from_features(model: Model, recipe: Recipe) -> bool:
    """Return whether a run can train on cached features: the backbone stays frozen, and the head needs only pooled features."""
    return recipe.feature_cache and is_whole(model) and not recipe.unfreeze_every and isinstance(model.head, PooledHead)


def has_small_head(model: Model, recipe: Recipe) -> bool:
    """Return whether training steps of the head are so small that neither a second thread nor 16-bit precision makes them faster."""
    return sum(parameter.numel() for parameter in model.head.parameters()) * recipe.batch_size < _SMALL


def why_not(model: Model, recipe: Recipe) -> str | None:
    """Explain why the features of a completely frozen backbone can't be cached.

    None if they can be cached, if the backbone isn't completely frozen, or if the cache is disabled.
    """
    if not is_whole(model) or not recipe.feature_cache:
        return None
    if recipe.unfreeze_every:
        return "the frozen backbone runs in every epoch: its stages are unfrozen later (unfreeze_every), so its features can't be cached"
    if not isinstance(model.head, PooledHead):
        return f"the frozen backbone runs in every epoch: the head of {model.task} needs full feature maps, which the cache doesn't hold"
    return None


def is_whole(model: Model) -> bool:
    """Return whether the whole backbone is frozen."""
    return frozen_stages(model.backbone, model.config.freeze)[0] == len(model.backbone.stages())


def pooled_data(cache: FeatureCache, dataset: Dataset, processes: Processes) -> PooledData:
    """Return a dataset with its features. The first process computes them, and the other processes load them from the cache.

    If a process doesn't find them in the cache (it runs on another machine, or they don't fit into the cache), it computes them itself. It
    uses the same engine as the first process, which chooses among the engines that are available to all processes. While the first process
    computes features, which may take hours, it regularly joins a collective operation, because the others wait only for minutes.

    Args:
        cache: the feature cache. Its attributes `alive` and `engines` are replaced.
        dataset: the dataset.
        processes: the processes of the run.
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
