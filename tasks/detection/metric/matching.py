"""COCO's matching of detections with objects, for all pictures, sizes and thresholds at once.

Within a cell each detection, the surest first, takes the object it overlaps most of those that are still free and overlap enough;
an object that counts before one that is ignored, the later of equals. A crowd takes any number. What matches an ignored object, or
matches nothing and is not of the wanted size, counts neither way (pycocotools `COCOeval.evaluateImg`).

Detections of one rank are in cells of their own and don't compete: a loop over the ranks, at most a hundred, is all there is.
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
_VALUES = 4_000_000  # booleans held at once


@dataclass(frozen=True)
class Matches:
    """Which detection found what, by area range [A] (`AREAS`) and IoU threshold [T] (`IOU_THRESHOLDS`).

    Attributes:
        ranked: the detections, cell by cell.
        truth: [D, A, T] the object that was found, a position in `Columns.truth`; −1 for none.
        ignored: [D, A, T] whether the detection counts neither way.
        truth_ignored: [G, A] whether the object counts neither way.
    """

    ranked: Ranked
    truth: NDArray[np.int32]
    ignored: Bools
    truth_ignored: Bools

    @cached_property
    def right(self) -> Bools:
        """[D, A, T] whether the detection is a true positive."""
        return np.asarray((self.truth >= 0) & ~self.ignored)


def match(columns: Columns, max_dets: int = 100) -> Matches:
    """Match every detection that counts.

    Args:
        columns: objects and detections.
        max_dets: detections of a cell that count.
    """
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
    """Return the object that each detection takes [D, A, T]."""
    shape = (len(AREAS), len(IOU_THRESHOLDS))
    result = np.full((len(detections.rows), *shape), -1, np.int32)
    taken = np.zeros((len(crowd), *shape), np.bool_)
    candidates = np.bincount(pairs.detection, minlength=len(detections.rows))
    first = np.cumsum(candidates) - candidates
    having = np.flatnonzero(candidates)
    # by rank, and among equals by the number of candidates: those taken together are then padded little
    order = having[np.lexsort((candidates[having], detections.rank[having]))]
    for start, stop in _together(detections.rank[order], candidates[order]):
        chosen = order[start:stop]
        width = int(candidates[chosen].max())
        place = np.minimum(np.arange(width), candidates[chosen][:, None] - 1)
        pair = first[chosen][:, None] + place  # [n, width]; where there are fewer candidates the last one stands again
        result[chosen] = _take(pairs.truth[pair], pairs.iou[pair], taken, truth_ignored, crowd)
    return result


def _together(rank: Ints, candidates: Ints) -> list[tuple[int, int]]:
    """Return ranges of one rank each, small enough to be handled at once."""
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
    """Let n detections of different cells take the best of their candidates, and note what is taken.

    Args:
        truth: [n, C] the candidates, ascending.
        iou: [n, C] how much each is overlapped.
        taken: [G, A, T], written to.
        truth_ignored: [G, A].
        crowd: [G].

    Returns:
        [n, A, T] the object taken, or −1.
    """
    free = ~taken[truth] | crowd[truth][:, :, None, None]
    free &= iou[:, :, None, None] >= np.minimum(IOU_THRESHOLDS, 1 - 1e-10)
    ignored = truth_ignored[truth][:, :, :, None]
    counting = free & ~ignored
    usable = np.where(counting.any(1, keepdims=True), counting, free & ignored)
    # the last of the best: the arrays are read backwards, for argmax returns the first
    values = np.where(usable, iou[:, :, None, None], -1.0)[:, ::-1]
    best = truth.shape[1] - 1 - values.argmax(1)  # [n, A, T]
    chosen = np.take_along_axis(truth, best.reshape(len(truth), -1), axis=1).reshape(best.shape)
    result = np.where(usable.any(1), chosen, -1).astype(np.int32)
    which, area, threshold = np.nonzero(result >= 0)
    taken[result[which, area, threshold], area, threshold] = True
    return result
