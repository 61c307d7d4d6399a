"""Kinds of detection errors and their costs, as defined by TIDE (Bolya et al. 2020, arXiv:2008.08115).

Each false positive at IoU 0.5 gets the first of these kinds that applies:

- localisation: the IoU with an object of the same class is 0.1 to 0.5;
- class: the IoU with an object of another class is at least 0.5;
- duplicate: the IoU with an object of the same class is at least 0.5, but the object is matched to a detection with a higher score;
- background: the IoU with every object is at most 0.1;
- both: all other false positives, i.e. wrong class and poor localisation.

An object is missed if it is matched to no detection, and no localisation or class error refers to it.

The cost of a kind is the increase in AP50 if all errors of this kind, and no others, are fixed. To fix a localisation or class error, the
detection becomes a true positive of its object. If several detections refer to the same object, this applies only to the one with the
highest score, and the others are removed. Duplicate, background and both errors are removed. Missed objects are removed from the ground
truth, and so are classes that then have neither objects nor detections. The costs don't add up to the total loss, because fixing one kind
increases the weight of the others.

Definitions, order and ties follow the authors' library tidecv, with two exceptions: classes without objects don't count, as in COCO's AP50,
and ignored detections (those of a crowd or a difficult object) are not errors.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from zoo.tasks.detection.data.columns import Bools, Columns, Floats, Ints
from zoo.tasks.detection.metric.average_precision import average_precision
from zoo.tasks.detection.metric.matching import Matches, Overlaps, overlaps

Kind = Literal["class", "localisation", "both", "duplicate", "background", "missed"]
KINDS: tuple[Kind, ...] = ("class", "localisation", "both", "duplicate", "background", "missed")
FOREGROUND, BACKGROUND = 0.5, 0.1  # IoU thresholds


@dataclass(frozen=True)
class Errors:
    """Errors of a detector on a dataset, and the cost of each kind of error."""

    detections: Ints  # false positives as indices into `Columns.found`, [E]
    kinds: Ints  # kind of each false positive as an index into `KINDS`, [E]
    about: Ints  # object to which each false positive refers, as an index into `Columns.truth`, [E]; −1 for none
    missed: Ints  # missed objects as indices into `Columns.truth`, [M]
    cost: dict[Kind, float]  # AP50 lost to each kind of error

    def count(self, kind: Kind) -> int:
        """Return the number of errors of the given kind."""
        return len(self.missed) if kind == "missed" else int((self.kinds == KINDS.index(kind)).sum())


@dataclass(frozen=True)
class _Counted:
    """Detections and numbers of objects from which AP50 is computed; ignored ones are excluded."""

    label: Ints  # class of each detection, [D]
    score: Floats  # score of each detection, [D]
    right: Bools  # whether each detection is a true positive, [D]
    positives: Ints  # number of objects of each class, [K]


def errors(columns: Columns, matches: Matches) -> Errors:
    """Classify all errors at IoU 0.5 and compute the cost of each kind."""
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
    """Return the kind of each false positive as an index into `KINDS`, [E], and the object to which it refers, [E]."""
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
    """Return for each detection the largest IoU among the wanted pairs, and the object of that pair.

    Of objects with equal IoU, the first is returned. Detections without a wanted pair get an IoU of 0 and the object −1.
    """
    chosen = np.flatnonzero(wanted)
    order = chosen[np.lexsort((pairs.truth[chosen], -pairs.iou[chosen], pairs.detection[chosen]))]
    detection, first = np.unique(pairs.detection[order], return_index=True)
    best, at = np.zeros(count), np.full(count, -1, np.int64)
    best[detection], at[detection] = pairs.iou[order[first]], pairs.truth[order[first]]
    return best, at


def _surest(about: Ints, fixable: Bools, score: Floats) -> Bools:
    """Return, for each error [E], whether it is fixable and has the highest score (the first if tied) among those about the same object."""
    candidates = np.flatnonzero(fixable)
    order = candidates[np.lexsort((candidates, -score[candidates], about[candidates]))]
    _, first = np.unique(about[order], return_index=True)
    result = np.zeros(len(about), np.bool_)
    result[order[first]] = True
    return result


def _costs(columns: Columns, counted: _Counted, place: Ints, found: Errors, surest: Bools) -> dict[Kind, float]:
    """Return the increase in AP50 if all errors of a kind are fixed, for each kind.

    `place` [E] is the index in `counted` of each false positive of `found`, and `surest` [E] is whether it becomes the true positive of its
    object when it is fixed.
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
    """Return the mean AP50 over the given classes [K] bool, by default those with objects. A class without objects counts as 0."""
    wanted = np.flatnonzero(counted.positives > 0 if classes is None else classes)
    order = np.lexsort((-counted.score, counted.label))
    first, last = (np.searchsorted(counted.label[order], wanted, side=side) for side in ("left", "right"))
    values = []
    for label, start, stop in zip(wanted, first, last, strict=True):
        right = counted.right[order[start:stop], None]
        positives = counted.positives[[label]].astype(np.float64)
        values.append(average_precision(right, np.zeros_like(right), np.ones(right.shape), positives)[0, 0])
    return float(np.mean(values)) if values else 0.0
