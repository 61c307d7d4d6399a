"""Cells: the detections and objects of one class in one image, and their overlaps.

COCO evaluates each cell separately: its detections, in descending order of score and up to a limit, against its objects.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from zoo.tasks.detection.data.columns import Columns, Floats, Ints, Truth

_PAIRS = 2_000_000  # pairs of boxes compared at once, to bound the memory


@dataclass(frozen=True)
class Ranked:
    """Detections that count, cell by cell (image, then class), in descending order of score within a cell."""

    rows: Ints  # detections as indices into `Columns.found`, [D]
    cell: Ints  # number of each detection's cell, image × classes + label, [D]
    rank: Ints  # rank of each detection within its cell, from 0, [D]


def ranked(columns: Columns, max_dets: int) -> Ranked:
    """Order detections by cell and score, equal scores in input order, and drop all beyond the `max_dets` highest of a cell."""
    found = columns.found
    cell = found.picture * max(1, len(columns.classes)) + found.label
    order = np.lexsort((-found.score, cell))
    ordered = cell[order]
    rank = np.arange(len(order)) - np.searchsorted(ordered, ordered)
    kept = rank < max_dets
    return Ranked(order[kept], ordered[kept], rank[kept])


@dataclass(frozen=True)
class Overlaps:
    """Pairs of a detection and an object that overlap."""

    detection: Ints  # position of each detection in the `rows` passed to `overlaps`, ascending, [P]
    truth: Ints  # objects as indices into `Columns.truth`, ascending within a detection, [P]
    iou: Floats  # IoU of each pair, [P]; for a crowd, the fraction of the detection inside it


def overlaps(columns: Columns, rows: Ints, within: Ints, truth_within: Ints, least: float) -> Overlaps:
    """Return the pairs of detections and objects that overlap by at least `least`.

    Pairs are formed within groups (images or cells): `within` [D] is the group of each detection in `rows`, `truth_within` [G] that of
    each object.
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
    """Return the IoU of overlapping pairs [P] with the arithmetic of pycocotools' maskApi, step by step, for bit-identical results."""
    other = (objects.xywh[:, 2] * objects.xywh[:, 3])[truth]
    return np.asarray(shared / np.where(objects.crowd[truth], own, own + other - shared))
