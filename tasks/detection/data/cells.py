"""Cells, i.e. the detections and objects of one class in one image, and the IoU of pairs of them.

COCO evaluates each cell separately: it compares the highest-scoring detections of the cell, up to a limit, with its objects.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from zoo.tasks.detection.data.columns import Columns, Floats, Ints, Truth

_PAIRS = 2_000_000  # maximum number of pairs of boxes compared at once, to limit memory


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
    """Return the pairs of detections and objects whose IoU is at least `least`. Both must be in the same group.

    Args:
        columns: objects and detections.
        rows: detections to compare, as indices into `Columns.found`, [D].
        within: group (image or cell) of each detection in `rows`, [D].
        truth_within: group of each object, [G].
        least: minimum IoU, above 0.
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
    boxes, others = columns.found.xywh[rows], columns.truth.xywh
    sides: list[Floats] = []
    for axis in (0, 1):  # most pairs are already disjoint along x and needn't be compared along y
        begin, end = boxes[:, axis], boxes[:, axis] + boxes[:, axis + 2]
        other_begin, other_end = others[:, axis], others[:, axis] + others[:, axis + 2]
        shared = np.minimum(end[detection], other_end[truth]) - np.maximum(begin[detection], other_begin[truth])
        overlapping = shared > 0
        detection, truth, shared = detection[overlapping], truth[overlapping], shared[overlapping]
        sides = [*(side[overlapping] for side in sides), shared]
    iou = _iou(sides[0] * sides[1], columns.found.area[rows][detection], columns.truth, truth)
    kept = iou >= least
    return Overlaps(detection[kept], truth[kept], iou[kept])


def _iou(shared: Floats, own: Floats, objects: Truth, truth: Ints) -> Floats:
    """Return the IoU of overlapping pairs [P]. The order of operations is that of pycocotools' maskApi, for bit-identical results."""
    other = (objects.xywh[:, 2] * objects.xywh[:, 3])[truth]
    return np.asarray(shared / np.where(objects.crowd[truth], own, own + other - shared))
