"""The detections and objects of one class in one picture – a cell – and how they overlap.

COCO's evaluation looks at each cell by itself: its detections, surest first and no more than a limit, against its objects.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from zoo.tasks.detection.columns import Bools, Columns, Floats, Ints

_PAIRS = 2_000_000  # pairs of boxes compared at once, which bounds the memory


@dataclass(frozen=True)
class Ranked:
    """The detections that count, cell by cell (picture, then class), the surest of a cell first.

    Attributes:
        rows: [D] positions in `Columns.found`.
        cell: [D] number of the cell: picture × classes + label.
        rank: [D] place within the cell, from 0.
    """

    rows: Ints
    cell: Ints
    rank: Ints


def ranked(columns: Columns, max_dets: int) -> Ranked:
    """Order detections by cell and score, equal scores as they came, and leave out all beyond a cell's `max_dets` surest."""
    found = columns.found
    cell = found.picture * max(1, len(columns.classes)) + found.label
    order = np.lexsort((-found.score, cell))
    ordered = cell[order]
    rank = np.arange(len(order)) - np.searchsorted(ordered, ordered)
    kept = rank < max_dets
    return Ranked(order[kept], ordered[kept], rank[kept])


@dataclass(frozen=True)
class Overlaps:
    """Pairs of a detection and an object that overlap.

    Attributes:
        detection: [P] ascending; what it counts, the caller knows.
        truth: [P] positions in `Columns.truth`, ascending within a detection.
        iou: [P]; for a crowd, the part of the detection that lies inside.
    """

    detection: Ints
    truth: Ints
    iou: Floats


def overlaps(columns: Columns, rows: Ints, within: Ints, truth_within: Ints, least: float) -> Overlaps:
    """Return the pairs of detections and objects that overlap by at least `least`.

    Args:
        columns: all boxes.
        rows: [D] positions in `Columns.found`: the detections; the result counts them by their places here.
        within: [D] what a detection is compared within: its picture, or its cell.
        truth_within: [G] the same of the objects.
        least: the smallest overlap that counts.
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
    """Return ranges of detections with about `_PAIRS` pairs each."""
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    cuts = np.searchsorted(ends, np.arange(_PAIRS, total, _PAIRS), side="right").tolist()
    bounds = sorted({0, *cuts, len(counts)})
    return list(pairwise(bounds))


def _pairs(columns: Columns, rows: Ints, first: Ints, counts: Ints, truth_order: Ints, start: int, stop: int, least: float) -> Overlaps:
    several = counts[start:stop]
    detection = np.repeat(np.arange(start, stop), several)
    place = np.arange(len(detection)) - np.repeat(np.cumsum(several) - several, several)
    truth = truth_order[first[detection] + place]
    iou = _iou(columns.found.xywh[rows[detection]], columns.truth.xywh[truth], columns.truth.crowd[truth])
    kept = iou >= least
    return Overlaps(detection[kept], truth[kept], iou[kept])


def _iou(found: Floats, truth: Floats, crowd: Bools) -> Floats:
    """Return the overlap of each pair of boxes xywh [P, 4], by the arithmetic of pycocotools' maskApi, step by step: the same bits."""
    ends = np.minimum(found[:, :2] + found[:, 2:], truth[:, :2] + truth[:, 2:])
    sides = np.maximum(ends - np.maximum(found[:, :2], truth[:, :2]), 0)
    shared = sides[:, 0] * sides[:, 1]
    own, other = found[:, 2] * found[:, 3], truth[:, 2] * truth[:, 3]
    together = np.where(crowd, own, own + other - shared)
    return np.asarray(np.divide(shared, together, out=np.zeros(len(shared)), where=shared > 0))
