"""Why detections are wrong, and what each kind of error costs: TIDE (Bolya et al. 2020, arXiv:2008.08115).

A false positive at IoU 0.5 is, by the first that fits,

- localisation: overlaps an object of its class by 0.1 to 0.5;
- class: overlaps an object of another class by 0.5 or more;
- duplicate: overlaps an object of its class by 0.5 or more, which a surer detection has found;
- background: overlaps no object by more than 0.1;
- both: what is left – wrong class and poor place.

An object is missed where no detection found it and no error of the first two kinds is about it. The cost of a kind is how much AP50
rises when all its errors are mended and nothing else: a localisation or class error becomes a find (of the object, in its class; where
several are about one object the surest does, and the others go), a duplicate, background or both goes, a missed object is not asked
for (nor is a class, where nothing is left of it). Costs don't add up: mending one kind makes the others weigh more.

The definitions, order and ties are those of the authors' tidecv, but that classes without objects don't count, as in COCO's AP50, and
detections that count neither way (in a crowd, of a difficult object) are no errors.
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
    """Every error of a model.

    Attributes:
        detections: [E] the false positives, positions in `Columns.found`.
        kinds: [E] index in `KINDS`.
        about: [E] the object that the error is about, a position in `Columns.truth`; −1 for none.
        missed: [M] the objects missed, positions in `Columns.truth`.
        cost: kind to the AP50 that it costs.
    """

    detections: Ints
    kinds: Ints
    about: Ints
    missed: Ints
    cost: dict[Kind, float]

    def count(self, kind: Kind) -> int:
        """Return how many errors of a kind there are."""
        return len(self.missed) if kind == "missed" else int((self.kinds == KINDS.index(kind)).sum())


@dataclass(frozen=True)
class _Counted:
    """Detections as AP50 sees them."""

    label: Ints
    score: Floats
    right: Bools
    positives: Ints  # [K] objects to find


def errors(columns: Columns, matches: Matches) -> Errors:
    """Sort out every error at IoU 0.5.

    Args:
        columns: objects and detections.
        matches: of all of them.
    """
    rows, right = matches.ranked.rows, matches.right[:, 0, 0]
    order = np.lexsort((rows, -columns.found.score[rows], columns.found.picture[rows]))  # by picture, the surest first, as they came
    rows, right, ignored = rows[order], right[order], matches.ignored[order, 0, 0]
    used = np.zeros(len(columns.truth.label), np.bool_)
    used[matches.truth[order, 0, 0][right]] = True
    wrong = rows[~right & ~ignored]
    kinds, about = _kinds(columns, wrong, used)
    mendable = kinds <= 1
    mendable[mendable] = ~used[about[mendable]]
    missed = ~used & ~columns.truth.ignored
    missed[about[mendable]] = False
    counted = _Counted(
        columns.found.label[rows[~ignored]],
        columns.found.score[rows[~ignored]],
        right[~ignored],
        np.bincount(columns.truth.label[~columns.truth.ignored], minlength=len(columns.classes)),
    )
    place = np.flatnonzero(~counted.right)
    found = Errors(wrong, kinds, np.where(kinds <= 1, about, -1), np.flatnonzero(missed), {})
    return replace(found, cost=_costs(columns, counted, place, found, _surest(about, mendable, columns.found.score[wrong])))


def _kinds(columns: Columns, wrong: Ints, used: Bools) -> tuple[Ints, Ints]:
    """Return the kind of each false positive, and the object that it is about."""
    found, truth = columns.found, columns.truth
    counting = np.where(truth.ignored, -1, truth.picture)  # ignored objects are compared with nothing
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
    """Return for each detection the largest overlap of the wanted pairs, and with which object: the first of equals; 0 and −1 for none."""
    chosen = np.flatnonzero(wanted)
    order = chosen[np.lexsort((pairs.truth[chosen], -pairs.iou[chosen], pairs.detection[chosen]))]
    detection, first = np.unique(pairs.detection[order], return_index=True)
    best, at = np.zeros(count), np.full(count, -1, np.int64)
    best[detection], at[detection] = pairs.iou[order[first]], pairs.truth[order[first]]
    return best, at


def _surest(about: Ints, mendable: Bools, score: Floats) -> Bools:
    """Return of the errors that could be mended the surest about each object, the first of equals."""
    candidates = np.flatnonzero(mendable)
    order = candidates[np.lexsort((candidates, -score[candidates], about[candidates]))]
    _, first = np.unique(about[order], return_index=True)
    result = np.zeros(len(about), np.bool_)
    result[order[first]] = True
    return result


def _costs(columns: Columns, counted: _Counted, place: Ints, found: Errors, surest: Bools) -> dict[Kind, float]:
    """Return how much AP50 rises with each kind mended.

    Args:
        columns: objects and detections.
        counted: the detections as they are.
        place: [E] where the errors stand among them.
        found: the errors.
        surest: [E] which of those about one object becomes a find.
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
            mended = chosen & surest
            label, right = counted.label.copy(), counted.right.copy()
            label[place[mended]] = columns.truth.label[found.about[mended]]
            right[place[mended]] = True
            kept = np.ones(len(label), np.bool_)
            kept[place[chosen & ~surest]] = False
            after = _ap50(_Counted(label[kept], counted.score[kept], right[kept], counted.positives))
        costs[kind] = after - before
    return costs


def _ap50(counted: _Counted, classes: Bools | None = None) -> float:
    """Return AP50 over the classes that have objects, or over those given; 0 for one where nothing is left to find."""
    wanted = np.flatnonzero(counted.positives > 0 if classes is None else classes)
    order = np.lexsort((-counted.score, counted.label))
    first, last = (np.searchsorted(counted.label[order], wanted, side=side) for side in ("left", "right"))
    values = [
        _class_ap50(counted.right[order[start:stop]], int(counted.positives[label]))
        for label, start, stop in zip(wanted, first, last, strict=True)
    ]
    return float(np.mean(values)) if values else 0.0


def _class_ap50(right: Bools, positives: int) -> float:
    """Return the AP of one class from its detections [D], the surest first."""
    if not positives or not right.any():
        return 0.0
    once, column = np.ones((len(right), 1)), right[:, None]
    return float(average_precision(column, np.zeros_like(column), once, np.array([float(positives)]))[0, 0])
