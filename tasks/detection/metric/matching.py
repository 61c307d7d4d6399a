"""COCO's matching of detections to ground-truth objects, for all images, area ranges and IoU thresholds at once.

The detections of a cell (one class in one image) are processed in descending order of score. Each detection is matched to the object with
the highest IoU among the unmatched objects that reach the threshold. Objects that count are preferred to ignored ones, and of objects with
equal IoU, the last one is chosen. A crowd can be matched to any number of detections. A detection is ignored if it is matched to an ignored
object, or if it is unmatched and its area is outside the area range (pycocotools `COCOeval.evaluateImg`).

Detections of equal rank are in different cells and don't compete for objects. A loop over the ranks, by default at most 100, is therefore
sufficient.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from zoo.tasks.detection.data.cells import Overlaps, Ranked, overlaps, ranked
from zoo.tasks.detection.data.columns import Bools, Columns, Floats, Ints

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
AREAS = {"all": (0.0, 1e10), "small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}
_VALUES = 4_000_000  # maximum number of booleans in memory at once


@dataclass(frozen=True)
class Matches:
    """Matches between detections [D] and objects [G], by area range [A] (`AREAS`) and IoU threshold [T] (`IOU_THRESHOLDS`)."""

    ranked: Ranked  # the detections, ordered cell by cell
    truth: NDArray[np.int32]  # object matched to each detection, as an index into `Columns.truth`, [D, A, T]; −1 for none
    ignored: Bools  # whether each detection is ignored, i.e. neither a true nor a false positive, [D, A, T]
    truth_ignored: Bools  # whether each object is ignored, i.e. counts neither as found nor as missed, [G, A]

    @cached_property
    def right(self) -> Bools:
        """Whether each detection is a true positive, [D, A, T]."""
        return np.asarray((self.truth >= 0) & ~self.ignored)


def match(columns: Columns, max_dets: int = 100) -> Matches:
    """Match detections to objects, using only the `max_dets` highest-scoring detections of each cell."""
    detections, truth = ranked(columns, max_dets), columns.truth
    outside = np.stack([(truth.area < low) | (truth.area > high) for low, high in AREAS.values()], axis=1)
    truth_ignored = outside | truth.ignored[:, None]
    truth_cell = truth.picture * max(1, len(columns.classes)) + truth.label
    pairs = overlaps(columns, detections.rows, detections.cell, truth_cell, float(IOU_THRESHOLDS[0]))
    matched = _matched(detections, pairs, truth_ignored, truth.crowd)
    area = columns.found.area[detections.rows]
    wrong_size = np.stack([(area < low) | (area > high) for low, high in AREAS.values()], axis=1)
    return Matches(detections, matched, _ignored(matched, truth_ignored, wrong_size), truth_ignored)


def _ignored(matched: NDArray[np.int32], truth_ignored: Bools, wrong_size: Bools) -> Bools:
    result = np.repeat(wrong_size[:, :, None], matched.shape[2], axis=2)
    for area in range(matched.shape[1]):
        places = matched[:, area]
        hit = places >= 0
        result[:, area][hit] = truth_ignored[places[hit], area]
    return result


def _matched(detections: Ranked, pairs: Overlaps, truth_ignored: Bools, crowd: Bools) -> NDArray[np.int32]:
    """Return the index of the object matched to each detection, or −1, by detection, area range and IoU threshold [D, A, T]."""
    shape = (len(AREAS), len(IOU_THRESHOLDS))
    result = np.full((len(detections.rows), *shape), -1, np.int32)
    taken = np.zeros((len(crowd), *shape), np.bool_)
    candidates = np.bincount(pairs.detection, minlength=len(detections.rows))
    first = np.cumsum(candidates) - candidates
    having = np.flatnonzero(candidates)
    # sort by rank, then by the number of candidates, so that each range needs little padding
    order = having[np.lexsort((candidates[having], detections.rank[having]))]
    for start, stop in _together(detections.rank[order], candidates[order]):
        chosen = order[start:stop]
        width = int(candidates[chosen].max())
        place = np.minimum(np.arange(width), candidates[chosen][:, None] - 1)
        pair = first[chosen][:, None] + place  # [n, width], padded with the last candidate
        result[chosen] = _take(pairs.truth[pair], pairs.iou[pair], taken, truth_ignored, crowd)
    return result


def _together(rank: Ints, candidates: Ints) -> list[tuple[int, int]]:
    """Return ranges of detections (start, stop). Each has a single rank and is small enough to be processed at once."""
    bounds = [0, *(np.flatnonzero(np.diff(rank)) + 1).tolist(), len(rank)]
    per_pair = len(AREAS) * len(IOU_THRESHOLDS)
    ranges = []
    for start, stop in pairwise(bounds):
        while start < stop:
            end = stop
            while end - start > 1 and (end - start) * int(candidates[end - 1]) * per_pair > _VALUES:
                end = start + (end - start + 1) // 2
            ranges.append((start, end))
            start = end
    return ranges


def _take(truth: Ints, iou: Floats, taken: Bools, truth_ignored: Bools, crowd: Bools) -> NDArray[np.int32]:
    """Match n detections of different cells to the best of their candidate objects.

    Args:
        truth: candidate objects of each detection in ascending order, [n, C].
        iou: IoU with each candidate, [n, C].
        taken: whether each object is already matched, [G, A, T]. Updated in place.
        truth_ignored: whether each object is ignored, [G, A].
        crowd: whether each object is a crowd, [G].

    Returns:
        The object matched to each detection, [n, A, T]; −1 for none.
    """
    free = ~taken[truth] | crowd[truth][:, :, None, None]
    free &= iou[:, :, None, None] >= np.minimum(IOU_THRESHOLDS, 1 - 1e-10)
    ignored = truth_ignored[truth][:, :, :, None]
    counting = free & ~ignored
    usable = np.where(counting.any(1, keepdims=True), counting, free & ignored)
    # argmax returns the first of equal values; reversing the order yields the last
    values = np.where(usable, iou[:, :, None, None], -1.0)[:, ::-1]
    best = truth.shape[1] - 1 - values.argmax(1)  # [n, A, T]
    chosen = np.take_along_axis(truth, best.reshape(len(truth), -1), axis=1).reshape(best.shape)
    result = np.where(usable.any(1), chosen, -1).astype(np.int32)
    which, area, threshold = np.nonzero(result >= 0)
    taken[result[which, area, threshold], area, threshold] = True
    return result
