"""Kinds of detection errors and the cost of each kind: TIDE (Bolya et al. 2020, arXiv:2008.08115).

A false positive at IoU 0.5 has the first kind that applies:

- localisation: overlaps an object of its class by 0.1 to 0.5;
- class: overlaps an object of another class by 0.5 or more;
- duplicate: overlaps an object of its class by 0.5 or more that a higher-scoring detection has found;
- background: overlaps no object by more than 0.1;
- both: everything else, i.e. wrong class and poor localisation.

An object is missed if no detection found it and no error of the first two kinds refers to it. The cost of a kind is the increase in
AP50 when all its errors are fixed and nothing else. A localisation or class error becomes a true positive for its object; if several
refer to the same object, only the one with the highest score does and the others are removed. A duplicate, background or both error is
removed. A missed object is removed from the ground truth (and so is a class with neither objects nor detections left). Costs don't add
up: fixing one kind increases the weight of the others.

Definitions, order and ties follow the authors' tidecv, except that classes without objects don't count, as in COCO's AP50, and that
ignored detections (of a crowd or a difficult object) are not errors.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from zoo.tasks.detection.data.cells import Overlaps, overlaps
from zoo.tasks.detection.data.columns import Bools, Columns, Floats, Ints
from zoo.tasks.detection.metric.average_precision import average_precision
from zoo.tasks.detection.metric.matching import Matches

Kind = Literal["class", "localisation", "both", "duplicate", "background", "missed"]
KINDS: tuple[Kind, ...] = ("class", "localisation", "both", "duplicate", "background", "missed")
FOREGROUND, BACKGROUND = 0.5, 0.1  # IoU


@dataclass(frozen=True)
class Errors:
    """All errors of a detector."""

    detections: Ints  # false positives as indices into `Columns.found`, [E]
    kinds: Ints  # kind of each false positive as an index into `KINDS`, [E]
    about: Ints  # object to which each false positive refers as an index into `Columns.truth`, [E]; −1 for none
    missed: Ints  # missed objects as indices into `Columns.truth`, [M]
    cost: dict[Kind, float]  # AP50 lost to each kind of error

    def count(self, kind: Kind) -> int:
        """Return the number of errors of a kind."""
        return len(self.missed) if kind == "missed" else int((self.kinds == KINDS.index(kind)).sum())


@dataclass(frozen=True)
class _Counted:
    """Detections and objects that count for AP50."""

    label: Ints
    score: Floats
    right: Bools
    positives: Ints  # [K] number of objects to find


def errors(columns: Columns, matches: Matches) -> Errors:
    """Classify all errors at IoU 0.5."""
    rows, right = matches.ranked.rows, matches.right[:, 0, 0]
    order = np.lexsort((rows, -columns.found.score[rows], columns.found.picture[rows]))  # by image, descending score and input order
    rows, right, ignored = rows[order], right[order], matches.ignored[order, 0, 0]
    used = np.zeros(len(columns.truth.label), np.bool_)
    used[matches.truth[order, 0, 0][right]] = True
    wrong = rows[~right & ~ignored]
    kinds, about = _kinds(columns, wrong, used)
    fixable = kinds <= 1
    fixable[fixable] = ~used[about[fixable]]
    missed = ~used & ~columns.truth.ignored
    missed[about[fixable]] = False
    counted = _Counted(
        columns.found.label[rows[~ignored]],
        columns.found.score[rows[~ignored]],
        right[~ignored],
        np.bincount(columns.truth.label[~columns.truth.ignored], minlength=len(columns.classes)),
    )
    place = np.flatnonzero(~counted.right)
    found = Errors(wrong, kinds, np.where(kinds <= 1, about, -1), np.flatnonzero(missed), {})
    return replace(found, cost=_costs(columns, counted, place, found, _surest(about, fixable, columns.found.score[wrong])))


def _kinds(columns: Columns, wrong: Ints, used: Bools) -> tuple[Ints, Ints]:
    """Return the kind of each false positive, and the object to which it refers."""
    found, truth = columns.found, columns.truth
    counting = np.where(truth.ignored, -1, truth.picture)  # excludes ignored objects
    pairs = overlaps(columns, wrong, found.picture[wrong], counting, np.finfo(np.float64).tiny)
    same = found.label[wrong[pairs.detection]] == truth.label[pairs.truth]
    own, own_at = _best(pairs, same, len(wrong))
    other, other_at = _best(pairs, ~same, len(wrong))
    taken, _ = _best(pairs, same & used[pairs.truth], len(wrong))
    kinds = np.select(
        [(own >= BACKGROUND) & (own <= FOREGROUND), other >= FOREGROUND, taken >= FOREGROUND, np.maximum(own, other) <= BACKGROUND],
        [KINDS.index(kind) for kind in ("localisation", "class", "duplicate", "background")],
        KINDS.index("both"),
    )
    return kinds, np.where(kinds == KINDS.index("class"), other_at, own_at)


def _best(pairs: Overlaps, wanted: Bools, count: int) -> tuple[Floats, Ints]:
    """Return the largest IoU of each detection among the wanted pairs, and its object (the first of equals); 0 and −1 for none."""
    chosen = np.flatnonzero(wanted)
    order = chosen[np.lexsort((pairs.truth[chosen], -pairs.iou[chosen], pairs.detection[chosen]))]
    detection, first = np.unique(pairs.detection[order], return_index=True)
    best, at = np.zeros(count), np.full(count, -1, np.int64)
    best[detection], at[detection] = pairs.iou[order[first]], pairs.truth[order[first]]
    return best, at


def _surest(about: Ints, fixable: Bools, score: Floats) -> Bools:
    """Return whether each fixable error has the highest score of those that refer to its object (the first of equals)."""
    candidates = np.flatnonzero(fixable)
    order = candidates[np.lexsort((candidates, -score[candidates], about[candidates]))]
    _, first = np.unique(about[order], return_index=True)
    result = np.zeros(len(about), np.bool_)
    result[order[first]] = True
    return result


def _costs(columns: Columns, counted: _Counted, place: Ints, found: Errors, surest: Bools) -> dict[Kind, float]:
    """Return the increase in AP50 when each kind is fixed.

    `place` [E] is the position of each error in `counted`; `surest` [E], whether it becomes the true positive of its object.
    """
    before = _ap50(counted)
    costs: dict[Kind, float] = {}
    for index, kind in enumerate(KINDS):
        if kind == "missed":
            lost = np.bincount(columns.truth.label[found.missed], minlength=len(counted.positives))
            left = replace(counted, positives=counted.positives - lost)
            answered = np.bincount(counted.label, minlength=len(lost)) > 0
            after = _ap50(left, (counted.positives > 0) & ((left.positives > 0) | answered))
        else:
            chosen = found.kinds == index
            fixed = chosen & surest
            label, right = counted.label.copy(), counted.right.copy()
            label[place[fixed]] = columns.truth.label[found.about[fixed]]
            right[place[fixed]] = True
            kept = np.ones(len(label), np.bool_)
            kept[place[chosen & ~surest]] = False
            after = _ap50(_Counted(label[kept], counted.score[kept], right[kept], counted.positives))
        costs[kind] = after - before
    return costs


def _ap50(counted: _Counted, classes: Bools | None = None) -> float:
    """Return AP50 over the given classes (default: those that have objects); a class with nothing left to find counts as 0."""
    wanted = np.flatnonzero(counted.positives > 0 if classes is None else classes)
    order = np.lexsort((-counted.score, counted.label))
    first, last = (np.searchsorted(counted.label[order], wanted, side=side) for side in ("left", "right"))
    values = [
        _class_ap50(counted.right[order[start:stop]], int(counted.positives[label]))
        for label, start, stop in zip(wanted, first, last, strict=True)
    ]
    return float(np.mean(values)) if values else 0.0


def _class_ap50(right: Bools, positives: int) -> float:
    """Return the AP of one class from its detections [D], in descending order of score."""
    if not positives or not right.any():
        return 0.0
    once, column = np.ones((len(right), 1)), right[:, None]
    return float(average_precision(column, np.zeros_like(column), once, np.array([float(positives)]))[0, 0])
