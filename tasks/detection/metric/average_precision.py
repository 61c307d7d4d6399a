"""COCO's average precision and recall as functions of image weights: 1 each, or the counts of a bootstrap replicate.

The evaluators compute the twelve scores of the dataset. This module computes the scores of many bootstrap replicates, and the AP50 for the
cost of errors. With weights of 1, its scores equal those of the evaluators (tests/unit/tasks/detection/test_metrics.py).

For speed, precision-recall curves are computed only at true positives, because between two of them only the number of detections matters.
The cumulative sums are shared by all IoU thresholds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from scipy.sparse import csr_array

from zoo.evaluation.intervals import Counts
from zoo.tasks.detection.data.columns import Bools, Columns, Floats, Ints
from zoo.tasks.detection.metric.matching import AREAS, Matches

RECALLS = np.linspace(0, 1, 101)
_EPSILON = float(np.spacing(1))  # pycocotools adds it to its divisors
_WEIGHTS = 2_000_000  # maximum number of weights in memory at once
_MANY = 64  # minimum number of columns for which accumulating row by row is faster
_SUFFIX = {"all": "", "small": "s", "medium": "m", "large": "l"}


def weighted_scores(columns: Columns, matches: Matches, counts: Counts, max_dets: int) -> dict[str, Floats]:
    """Return the twelve COCO scores of each bootstrap replicate, [R] each; NaN where a replicate has no objects to find.

    `matches` must have been computed with the same `max_dets`. `counts` [R, images] is how often each replicate contains each image.
    """
    limits = (1, 10, max_dets)
    names = ["AP", "AP50", "AP75", "APs", "APm", "APl", *(f"AR{limit}" for limit in limits), "ARs", "ARm", "ARl"]
    totals = {name: np.zeros(len(counts)) for name in names}
    positives = _positives(columns, matches, counts)
    for label, own in _by_class(columns, matches):
        picture, rank = columns.found.picture[matches.ranked.rows[own]], matches.ranked.rank[own]
        step = max(1, _WEIGHTS // max(1, len(own)))
        for start in range(0, len(counts), step):
            stop = min(start + step, len(counts))
            weights = counts.T[picture, start:stop].astype(np.float64)
            for index, (area, suffix) in enumerate(_SUFFIX.items()):
                there = positives[area][start:stop, label]
                right = matches.right[own, index]
                precision = average_precision(right, matches.ignored[own, index], weights, there)
                some = there > 0
                totals[f"AP{suffix}"][start:stop] += some * precision.mean(0)
                if not suffix:
                    for name, threshold in (("AP50", 0), ("AP75", 5)):
                        totals[name][start:stop] += some * precision[threshold]
                for limit in limits if not suffix else (max_dets,):
                    hits = (right.mean(1) * (rank < limit)) @ weights
                    totals[f"AR{suffix or limit}"][start:stop] += hits / np.maximum(there, 1)
    classes = {area: (there > 0).sum(1) for area, there in positives.items()}
    letters = {suffix: area for area, suffix in _SUFFIX.items()}
    return {name: _mean(total, classes[letters.get(name[-1], "all")]) for name, total in totals.items()}


def joined(parts: Sequence[Mapping[str, Floats]]) -> dict[str, Floats]:
    """Join the scores of several sets of replicates, [R] each, by name; empty without any."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]} if parts else {}


def _by_class(columns: Columns, matches: Matches) -> Iterator[tuple[int, Ints]]:
    """Yield every class with objects, and its detections by descending score and then by image, as indices [D] into `matches.ranked`."""
    label = columns.found.label[matches.ranked.rows]
    order = np.lexsort((-columns.found.score[matches.ranked.rows], label))
    ordered = label[order]
    for wanted in np.unique(columns.truth.label).tolist():
        yield wanted, order[np.searchsorted(ordered, wanted) : np.searchsorted(ordered, wanted, side="right")]


def average_precision(right: Bools, ignored: Bools, weights: Floats, positives: Floats) -> Floats:
    """Return the average precision of one class at each IoU threshold for each replicate, [T, R].

    Average precision is the mean interpolated precision at 101 recall thresholds.

    Args:
        right: whether each detection is a true positive, [D, T], in descending order of score.
        ignored: whether each detection is ignored, [D, T].
        weights: weight of each detection in each replicate, [D, R].
        positives: number of objects to find in each replicate, [R].
    """
    result = np.zeros((right.shape[1], weights.shape[1]))
    counting = ~ignored.all(1)
    if not right.any():
        return result
    weights, right, ignored = weights[counting], right[counting], ignored[counting]
    so_far = _accumulated(np.add, weights)
    for threshold in range(right.shape[1]):
        hits, left_out = np.flatnonzero(right[:, threshold]), np.flatnonzero(ignored[:, threshold])
        if not len(hits):
            continue
        counted = so_far[hits]
        if len(left_out):
            sums = np.concatenate([np.zeros((1, weights.shape[1])), _accumulated(np.add, weights[left_out])])
            counted -= sums[np.searchsorted(left_out, hits)]
        found = _accumulated(np.add, weights[hits])
        counted += _EPSILON
        precision = np.divide(found, counted, out=counted)
        interpolated = _accumulated(np.maximum, precision[::-1])[::-1]
        reached = _reached(found / np.maximum(positives, 1))
        gained = np.diff(reached, axis=0, prepend=np.zeros_like(reached[:1]))
        result[threshold] = np.einsum("dr,dr->r", interpolated, gained) / len(RECALLS)
    return result


def _accumulated(function: np.ufunc, values: Floats) -> Floats:
    """Return the cumulative sums or maxima [D, R] over the rows.

    NumPy accumulates along the first axis column by column. For many columns, accumulating row by row is several times faster.
    """
    if values.shape[1] < _MANY:
        return np.asarray(function.accumulate(values, axis=0))
    result = np.empty_like(values)
    result[0] = values[0]
    for row in range(1, len(values)):
        function(result[row - 1], values[row], out=result[row])
    return result


def _reached(recall: Floats) -> Floats:
    """Return the number of the 101 recall thresholds that each recall value reaches, compared as by `searchsorted`."""
    nearest = np.rint(recall * 100)
    return np.asarray(nearest + (RECALLS[nearest.astype(np.int8)] <= recall))


def _positives(columns: Columns, matches: Matches, counts: Counts) -> dict[str, Floats]:
    """Return the number of objects to find in each replicate and class, [R, K], by area name."""
    truth, shape = columns.truth, (len(columns.keys), len(columns.classes))
    result = {}
    for index, area in enumerate(AREAS):
        counting = ~matches.truth_ignored[:, index]
        places = truth.picture[counting], truth.label[counting]
        result[area] = np.asarray(counts.astype(np.float64) @ csr_array((np.ones(int(counting.sum())), places), shape=shape))
    return result


def _mean(total: Floats, classes: Floats) -> Floats:
    return np.asarray(np.divide(total, classes, out=np.full(len(total), np.nan), where=classes > 0))
