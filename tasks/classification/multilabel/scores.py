"""Scores of multi-label classification as functions of image weights.

The weights are 1 for the scores of a dataset, or the counts of a bootstrap replicate. Unknown labels are left out of every score. The
scores are defined as in scikit-learn with `zero_division=0`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.special import expit

from zoo.tasks.classification.scores import Floats, ratio

_AP_STEPS = 400_000_000  # maximum of images × classes × replicates for which the average precision gets a confidence interval


@dataclass(frozen=True)
class Decisions:
    """Predictions of a multi-label classifier and the right labels, in a fixed order of images."""

    logits: Floats  # logits, [N, K]
    targets: Floats  # 1, 0 or NaN, [N, K]
    thresholds: Floats  # probability above which a class is predicted, [K]

    @cached_property
    def probabilities(self) -> Floats:
        """Sigmoid of the logits, [N, K]."""
        return np.asarray(expit(self.logits))

    @cached_property
    def known(self) -> NDArray[np.bool_]:
        """Whether the label is known, [N, K]."""
        return np.asarray(~np.isnan(self.targets))

    @cached_property
    def present(self) -> NDArray[np.bool_]:
        """Whether the class is known to occur, [N, K]."""
        return np.asarray(self.targets == 1)

    @cached_property
    def predicted(self) -> NDArray[np.bool_]:
        """Whether the class is predicted, [N, K]."""
        return np.asarray(self.probabilities > self.thresholds)

    @cached_property
    def wrong(self) -> NDArray[np.bool_]:
        """Whether the label is known and the prediction differs from it, [N, K]."""
        return np.asarray(self.known & (self.predicted != self.present))


def class_scores(found: Decisions, weights: Floats) -> dict[str, Floats]:
    """Return precision, recall, F1 and the counts of each class, [R, K] each, for weights [R, N].

    The counts are `hits` (true positives), `n` (occurrences) and `predicted`, over images whose label is known, and `known`, their number.
    """
    hits, present, predicted, known = (
        weights @ part.astype(np.float64)
        for part in (found.present & found.predicted, found.present, found.known & found.predicted, found.known)
    )
    return {
        "precision": ratio(hits, predicted),
        "recall": ratio(hits, present),
        "f1": ratio(2 * hits, present + predicted),
        "hits": hits,
        "n": present,
        "predicted": predicted,
        "known": known,
    }


def scores(found: Decisions, weights: Floats, per_class: dict[str, Floats]) -> dict[str, Floats]:
    """Return all scores except mAP, [R] each. `per_class` is the result of `class_scores` for the same weights [R, N].

    A macro average is the mean over all classes of which a label is known. In `subset_accuracy`, an image is right if all of its known
    labels are; images without any known label are left out. A score is NaN if there is nothing to average.
    """
    hits, present, predicted = (per_class[name].sum(1) for name in ("hits", "n", "predicted"))
    scored = per_class["known"] > 0
    result = {
        "f1_micro": ratio(2 * hits, present + predicted),
        "f1_macro": _mean(per_class["f1"], scored),
        "precision_micro": ratio(hits, predicted),
        "precision_macro": _mean(per_class["precision"], scored),
        "recall_micro": ratio(hits, present),
        "recall_macro": _mean(per_class["recall"], scored),
    }
    some, right = found.known.any(1), ~found.wrong.any(1)
    total = weights @ some.astype(np.float64)
    exact = np.divide(weights @ (some & right).astype(np.float64), total, out=np.full(len(weights), np.nan), where=total > 0)
    anything = scored.any(1)
    return {**{name: np.where(anything, values, np.nan) for name, values in result.items()}, "subset_accuracy": exact}


def _mean(values: Floats, chosen: NDArray[np.bool_]) -> Floats:
    """Return the mean over the chosen classes, [R]; NaN if there are none. Both arrays are [R, K]."""
    count = chosen.sum(1)
    return np.asarray(np.divide((values * chosen).sum(1), count, out=np.full(len(values), np.nan), where=count > 0))


def average_precisions(found: Decisions, weights: Floats) -> Floats:
    """Return the average precision of each class, [R, K]; NaN for a class that doesn't occur. The weights are [R, N]."""
    classes = range(found.targets.shape[1])
    by_picture = np.ascontiguousarray(weights.T)
    rows = (
        (found.logits[known, index], found.present[known, index], by_picture[known])
        for index in classes
        for known in (found.known[:, index],)
    )
    return np.stack([_average_precision(*row) for row in rows], 1)


def mean_average_precision(per_class: Floats) -> Floats:
    """Return the mean over the classes that occur, [R]; NaN if no class occurs. `per_class` is the result of `average_precisions`."""
    occurs = np.isfinite(per_class)
    return _mean(np.where(occurs, per_class, 0), occurs)


def _average_precision(score: Floats, positive: NDArray[np.bool_], weights: Floats) -> Floats:
    """Return the average precision of one class, [R]: Σ (recall gained) × precision over the thresholds, which are the distinct scores.

    The images are sorted by score and divided into segments, each of which ends with a group of equal scores that contains a positive; the
    recall doesn't change elsewhere. Two sparse matrix products compute the sums of weights in the segments for all replicates.

    `score` [N] is the logit of each image, `positive` [N] whether the class occurs in it; `weights` are [N, R].
    """
    order = np.argsort(-score, kind="stable")
    last = np.flatnonzero(np.append(np.diff(score[order]) != 0, True))[: len(order)]  # last image of each group of equal scores
    holds = np.diff(np.append(0, np.cumsum(positive[order])[last])) > 0
    ends = last[holds] + 1
    undefined = np.full(weights.shape[1], np.nan)
    if not len(ends):
        return undefined
    used, starts = order[: ends[-1]], np.append(0, ends)
    shape = (len(ends), len(order))
    everyone = csr_array((np.ones(len(used)), used, starts), shape=shape) @ weights
    good = csr_array((positive[used].astype(np.float64), used, starts), shape=shape) @ weights
    precision = ratio(np.cumsum(good, axis=0), np.cumsum(everyone, axis=0))
    total = good.sum(0)
    return np.asarray(np.divide((good * precision).sum(0), total, out=undefined, where=total > 0))


def affordable(found: Decisions, draws: int) -> bool:
    """Return whether the average precision of `draws` bootstrap replicates can be computed in reasonable time."""
    return found.logits.size * draws <= _AP_STEPS
