"""COCO's matching of detections to ground-truth objects, for all images, area ranges and IoU thresholds at once.

COCO evaluates each cell, i.e. the detections and objects of one class in one image, separately. The detections of a cell, up to a limit,
are processed in descending order of score. Each detection is matched to the object with the highest IoU among the unmatched objects that
reach the threshold. Objects that count are preferred to ignored ones, and of objects with equal IoU, the last one is chosen. A crowd can be
matched to any number of detections. A detection is ignored if it is matched to an ignored object, or if it is unmatched and its area is
outside the area range (pycocotools `COCOeval.evaluateImg`).

Detections of equal rank are in different cells and don't compete for objects. A loop over the ranks, by default at most 100, is therefore
sufficient.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from zoo.tasks.detection.data.columns import Bools, Columns, Floats, Ints

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
AREAS = {"all": (0.0, 1e10), "small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}
_PAIRS = 2_000_000  # maximum number of pairs of boxes compared at once, to limit memory
_VALUES = 4_000_000  # maximum number of booleans in memory at once


@dataclass(frozen=True)
class Ranked:
    """Highest-scoring detections of each cell, ordered by image, then class, then descending score."""

    rows: Ints  # detections as indices into `Columns.found`, [D]
    cell: Ints  # index of each detection's cell, image × number of classes + label, [D]
    rank: Ints  # rank of each detection within its cell, from 0, [D]


def ranked(columns: Columns, max_dets: int) -> Ranked:
    """Order detections by cell and descending score, and keep the first `max_dets` of each cell. Equal scores stay in input order."""
    found = columns.found
    cell = found.picture * max(1, len(columns.classes)) + found.label
    order = np.lexsort((-found.score, cell))
    ordered = cell[order]
    rank = np.arange(len(order)) - np.searchsorted(ordered, ordered)
    kept = rank < max_dets
    return Ranked(order[kept], ordered[kept], rank[kept])


@dataclass(frozen=True)
class Overlaps:
    """Overlapping pairs of a detection and an object."""

    detection: Ints  # position of each detection in the `rows` passed to `overlaps`, ascending, [P]
    truth: Ints  # objects as indices into `Columns.truth`, ascending within a detection, [P]
    iou: Floats  # IoU of each pair, [P]; for a crowd, the fraction of the detection inside it


def overlaps(columns: Columns, rows: Ints, within: Ints, truth_within: Ints, least: float) -> Overlaps:
    """Return the pairs of detections and objects of the same group whose IoU is at least `least`, which is above 0.

    `rows` are the detections to compare, as indices into `Columns.found`, [D]. `within` is the group (image or cell) of each of them, [D],
    and `truth_within` the group of each object, [G].
    """
    truth_order = np.argsort(truth_within, kind="stable")
    ordered = truth_within[truth_order]
    first, last = np.searchsorted(ordered, within), np.searchsorted(ordered, within, side="right")
    counts = last - first
    parts = [_pairs(columns, rows, first, counts, truth_order, start, stop, least) for start, stop in _chunks(counts)]
    if not parts:
        return Overlaps(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))
    return Overlaps(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("detection", "truth", "iou")))


def _chunks(counts: Ints) -> list[tuple[int, int]]:
    """Return ranges of detections (start, stop) with about `_PAIRS` pairs each."""
    cuts = np.searchsorted(np.cumsum(counts), np.arange(_PAIRS, counts.sum(), _PAIRS), side="right").tolist()
    return list(pairwise(sorted({0, *cuts, len(counts)})))


def _pairs(columns: Columns, rows: Ints, first: Ints, counts: Ints, truth_order: Ints, start: int, stop: int, least: float) -> Overlaps:
    several = counts[start:stop]
    detection = np.repeat(np.arange(start, stop), several)
    place = np.arange(len(detection)) - np.repeat(np.cumsum(several) - several, several)
    truth = truth_order[first[detection] + place]
    boxes, others = columns.found.xywh[rows], columns.truth.xywh
    sides: list[Floats] = []
    for axis in (0, 1):  # most pairs are already disjoint along x and needn't be compared along y
        begin, end = boxes[:, axis], boxes[:, axis] + boxes[:, axis + 2]
        other_begin, other_end = others[:, axis], others[:, axis] + others[:, axis + 2]
        shared = np.minimum(end[detection], other_end[truth]) - np.maximum(begin[detection], other_begin[truth])
        overlapping = shared > 0
        detection, truth, shared = detection[overlapping], truth[overlapping], shared[overlapping]
        sides = [*(side[overlapping] for side in sides), shared]
    # the order of operations is that of pycocotools' maskApi, for bit-identical results
    shared, own, other = sides[0] * sides[1], columns.found.area[rows][detection], (others[:, 2] * others[:, 3])[truth]
    iou = shared / np.where(columns.truth.crowd[truth], own, own + other - shared)
    kept = iou >= least
    return Overlaps(detection[kept], truth[kept], iou[kept])


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
    truth_ignored = _outside(truth.area) | truth.ignored[:, None]
    truth_cell = truth.picture * max(1, len(columns.classes)) + truth.label
    pairs = overlaps(columns, detections.rows, detections.cell, truth_cell, float(IOU_THRESHOLDS[0]))
    matched = _matched(detections, pairs, truth_ignored, truth.crowd)
    ignored = np.repeat(_outside(columns.found.area[detections.rows])[:, :, None], matched.shape[2], axis=2)
    for area in range(matched.shape[1]):
        places = matched[:, area]
        hit = places >= 0
        ignored[:, area][hit] = truth_ignored[places[hit], area]
    return Matches(detections, matched, ignored, truth_ignored)


def _outside(area: Floats) -> Bools:
    """Return whether each area lies outside each area range, [N, A]."""
    return np.stack([(area < low) | (area > high) for low, high in AREAS.values()], axis=1)


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
    """Return the index of the object matched to each of n detections from different cells, or −1, as an array [n, A, T].

    `truth` [n, C] contains the candidate objects of each detection in ascending order, and `iou` [n, C] the IoU with each. `taken` tells
    whether each object is already matched, [G, A, T]; it is updated in place.
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
