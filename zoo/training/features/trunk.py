"""Whether a run's head can learn from features that are computed once, and the features then."""

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

_SIGN_SECONDS = 20.0
_SMALL = 2**24  # multiplications of a head's batch, below which a second thread is no gain

if TYPE_CHECKING:
    from zoo.models.model import Model
    from zoo.task.recipe import Recipe


def learns_from_features(model: Model, recipe: Recipe) -> bool:
    """Tell whether the trunk stays as it is throughout a run, and the head looks at what can be kept of it."""
    return recipe.feature_cache and is_whole(model) and not recipe.unfreeze_every and isinstance(model.head, PooledHead)


def has_small_head(model: Model, recipe: Recipe) -> bool:
    """Tell whether a step of the head alone is so small that neither a second thread nor products in 16 bits make it quicker."""
    return sum(parameter.numel() for parameter in model.head.parameters()) * recipe.batch_size < _SMALL


def why_not(model: Model, recipe: Recipe) -> str | None:
    """Return a line that says why a frozen trunk runs in every epoch all the same; None where there is nothing to say."""
    if not is_whole(model) or not recipe.feature_cache:
        return None
    if recipe.unfreeze_every:
        return "the frozen trunk runs in every epoch: its stages learn later (unfreeze_every), so its features can't be kept"
    if not isinstance(model.head, PooledHead):
        return f"the frozen trunk runs in every epoch: the head of {model.task} looks at more of it than could be kept"
    return None


def is_whole(model: Model) -> bool:
    """Tell whether the whole trunk is frozen."""
    return frozen_stages(model.backbone, model.config.freeze)[0] == len(model.backbone.stages())


def pooled_data(cache: FeatureCache, dataset: Dataset, processes: Processes) -> PooledData:
    """Return a data set with its features; of several processes the first computes them, and the others find them in the cache.

    A process that finds none there (another machine's, or there is no room for a cache) computes its own, by the same engines as the
    first, which has tried those alone that all have. While the first computes it gives a sign of life now and then: processes wait for
    each other for minutes, and computing may take hours.

    Args:
        cache: with its model.
        dataset: the pictures.
        processes: this one and the others.
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
