"""Choice of thresholds: the operating point that a target selects on the precision-recall curve, with bootstrap intervals.

Precision is TP / (TP + FP) and recall TP / (TP + FN), where a candidate is accepted if its score is above the threshold. Candidates with
equal scores are accepted together. A threshold lies halfway between two neighbouring scores, so that rounding, such as that of an exported
model, doesn't change decisions on the validation data.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.errors import InputError
from zoo.evaluation.intervals import draws, interval
from zoo.task.operating import Decisions, Floats

_COUNTED = 200_000_000  # maximum of candidates × bootstrap replicates of one class
_LEAST_DRAWS = 200  # minimum number of bootstrap replicates
_WEIGHTS = 4_000_000  # maximum number of weights in memory at once
_EXPECTED = "expected f1, precision=P or recall=R with a number from 0 to 1, or cost=fp:A,fn:B with two numbers from 0"


@dataclass(frozen=True)
class Target:
    """What thresholds are chosen for.

    Attributes:
        kind: "f1", "precision", "recall" or "cost".
        least: minimum precision or recall.
        costs: cost of a false positive and of a false negative.
    """

    kind: str
    least: float = 0.0
    costs: tuple[float, float] = (1.0, 1.0)

    @classmethod
    def parse(cls, text: str) -> Target:
        """Parse `f1`, `precision=0.95`, `recall=0.9` or `cost=fp:1,fn:5`. Any other text raises an `InputError`."""
        kind, _, value = text.replace(" ", "").partition("=")
        if kind == "f1" and not value:
            return cls("f1")
        if kind in ("precision", "recall") and 0 < (least := _number(value)) <= 1:
            return cls(kind, least)
        if kind == "cost":
            parts = dict(part.partition(":")[::2] for part in value.split(","))
            costs = _number(parts.get("fp", "")), _number(parts.get("fn", ""))
            if set(parts) == {"fp", "fn"} and value.count(",") == 1 and all(0 <= cost < math.inf for cost in costs) and any(costs):
                return cls("cost", costs=costs)
        raise InputError(f"the target is {text!r}; {_EXPECTED}")

    def best(self, hits: Floats, accepted: Floats, positives: Floats) -> NDArray[np.int64]:
        """Return the index of the best threshold for each row, [R]; −1 where none reaches the target.

        Of equally good thresholds, the highest is chosen.

        Args:
            hits: accepted candidates that are right, [R, T], by descending threshold.
            accepted: all accepted candidates, [R, T].
            positives: all candidates that are right, [R].
        """
        whole = positives[:, None]
        precision, recall = _ratio(hits, accepted), _ratio(hits, np.broadcast_to(whole, hits.shape))
        if self.kind == "f1":
            value = _ratio(2 * hits, accepted + whole)
            reached = value > 0
        elif self.kind == "precision":
            value, reached = recall, (precision >= self.least) & (hits > 0)
        elif self.kind == "recall":  # of thresholds with equal precision, the one with the greatest recall
            value, reached = precision, (recall >= self.least) & (hits > 0)
            best = np.where(reached, value, -1).max(1, keepdims=True)
            value, reached = recall, reached & (value >= best)
        else:
            value = -(self.costs[0] * (accepted - hits) + self.costs[1] * (whole - hits))
            reached = np.broadcast_to(whole > 0, hits.shape)
        chosen = np.where(reached, value, -np.inf).argmax(1)
        return np.where(reached.any(1), chosen, -1)


@dataclass(frozen=True)
class ClassPoint:
    """Operating point of one class, or of one use of a face model.

    Attributes:
        threshold: the threshold; None if there was nothing to choose it from and there is no default.
        interval: 95 % bootstrap interval of the threshold; None if it can't be computed.
        precision: precision at the threshold on the validation data; None if the default was kept or nothing is accepted.
        recall: recall at the threshold on the validation data; None if the default was kept.
        precision_interval: 95 % bootstrap interval of the precision at this threshold.
        recall_interval: 95 % bootstrap interval of the recall at this threshold.
        expected_precision: precision to expect on other data: that on the validation data without the optimism of choosing the threshold on
            the same data, which the bootstrap estimates (Efron & Tibshirani 1993, section 17.6). None without an interval.
        expected_recall: recall to expect on other data.
        n: number of objects in the validation data.
        kept: why the default was kept; "" if a threshold was chosen.
    """

    threshold: float | None
    interval: tuple[float, float] | None
    precision: float | None
    recall: float | None
    precision_interval: tuple[float, float] | None
    recall_interval: tuple[float, float] | None
    n: int
    kept: str = ""
    expected_precision: float | None = None
    expected_recall: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the point as a JSON-serialisable dict."""
        return {
            name: list(value) if isinstance(value, tuple) else value for name, value in vars(self).items() if (name, value) != ("kept", "")
        }


@dataclass(frozen=True)
class Unreached:
    """A class for which no threshold reaches the target, and the best value that can be reached."""

    best: float


def choose(found: Decisions, target: Target, replicates: int) -> ClassPoint | Unreached:
    """Choose the threshold of one class, with `replicates` bootstrap replicates for the intervals."""
    n = found.positives
    if not n:
        return ClassPoint(found.default, None, None, None, None, None, 0, "no objects in the validation data")
    curve = _Curve.of(found)
    once = curve.sums(np.ones((1, len(found.score))))
    (place,) = target.best(*once)
    hits, accepted = once[0][0], once[1][0]
    if place < 0:
        if target.kind == "f1":
            return ClassPoint(found.default, None, None, None, None, None, n, "nothing that the model finds is right")
        values = _ratio(hits, accepted) if target.kind == "precision" else hits / n
        return Unreached(float(values.max()))
    drawn = _replicates(curve, target, int(place), once, replicates)
    threshold = float(curve.thresholds[place])
    low_high = interval(drawn.thresholds, threshold) if replicates else None
    precision = float(hits[place] / accepted[place]) if accepted[place] else None
    recall = float(hits[place] / n)
    limits = [limit * found.scale for limit in found.limits]
    return ClassPoint(
        threshold * found.scale,
        None if low_high is None else _sorted(*(min(max(bound * found.scale, min(limits)), max(limits)) for bound in low_high)),
        precision,
        recall,
        interval(drawn.precisions, precision) if replicates and precision is not None else None,
        interval(drawn.recalls, recall) if replicates else None,
        n,
        expected_precision=None if low_high is None else _corrected(precision, drawn.optimism[0]),
        expected_recall=None if low_high is None else _corrected(recall, drawn.optimism[1]),
    )


def _corrected(rate: float | None, optimism: Floats) -> float | None:
    """Return a rate without the mean optimism of the replicates for which it is known."""
    known = optimism[np.isfinite(optimism)]
    return None if rate is None or not len(known) else float(np.clip(rate - known.mean(), 0, 1))


@dataclass(frozen=True)
class _Curve:
    """Candidates by descending score, and the thresholds between them, the first of which accepts nothing."""

    found: Decisions
    order: NDArray[np.int64]  # the candidates that can be accepted, by descending score, [S]
    ends: NDArray[np.int64]  # number of accepted candidates at each threshold, ascending, [T]
    thresholds: Floats  # descending, [T]

    @classmethod
    def of(cls, found: Decisions) -> _Curve:
        scored = np.flatnonzero(np.isfinite(found.score))
        order = scored[np.argsort(-found.score[scored], kind="stable")]
        score = found.score[order]
        ends = np.append(0, np.flatnonzero(np.append(np.diff(score) != 0, True))[: len(order)] + 1)
        bounds = np.concatenate([[found.limits[1]], score[ends[1:] - 1], [found.limits[0]]])
        return cls(found, order, ends, (bounds[1:] + bounds[:-1]) / 2)

    def sums(self, weights: Floats) -> tuple[Floats, Floats, Floats]:
        """Return the arguments of `Target.best` for weights [R, D]."""
        ordered = weights[:, self.order]
        hits, accepted = (self._accumulated(part) for part in (ordered * self.found.right[self.order], ordered))
        return hits, accepted, weights @ self.found.right.astype(np.float64)

    def _accumulated(self, values: Floats) -> Floats:
        return np.concatenate([np.zeros((len(values), 1)), np.cumsum(values, axis=1)], axis=1)[:, self.ends]


@dataclass(frozen=True)
class _Replicates:
    """Bootstrap replicates."""

    thresholds: Floats  # threshold that each replicate would choose, [R]; NaN where none reaches the target
    precisions: Floats  # precision of each replicate at the chosen threshold, [R]
    recalls: Floats  # recall of each replicate at the chosen threshold, [R]
    optimism: Floats  # precision and recall of each replicate at its own threshold, less those of all data at this threshold, [2, R]


def _replicates(curve: _Curve, target: Target, place: int, once: tuple[Floats, Floats, Floats], replicates: int) -> _Replicates:
    """Return the bootstrap replicates for the chosen threshold `place`. `once` are the sums for weights of 1."""
    parts = [np.empty((5, 0))]
    whole = _rates(*once)[:, 0]  # [2, T]
    for weights in _drawn(curve.found, replicates):
        hits, accepted, positives = curve.sums(weights)
        best, rows = target.best(hits, accepted, positives), np.arange(len(weights))
        rates = _rates(hits, accepted, positives)  # [2, r, T]
        optimism = np.where(best < 0, np.nan, rates[:, rows, best] - whole[:, best])
        parts.append(np.stack([np.where(best < 0, np.nan, curve.thresholds[best]), *rates[:, :, place], *optimism]))
    drawn = np.concatenate(parts, axis=1)
    return _Replicates(drawn[0], drawn[1], drawn[2], drawn[3:])


def _rates(hits: Floats, accepted: Floats, positives: Floats) -> Floats:
    """Return precision and recall, [2, R, T]; NaN where they are undefined."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.stack([hits / accepted, hits / positives[:, None]])


def _drawn(found: Decisions, replicates: int) -> Iterator[Floats]:
    """Yield the weights of the candidates in the bootstrap replicates, [r, D]. There are fewer replicates for very many candidates."""
    if not replicates:
        return
    candidates = max(1, len(found.score))
    step = max(1, _WEIGHTS // candidates)
    for counts in draws(found.units, min(replicates, max(_LEAST_DRAWS, _COUNTED // candidates))):
        for start in range(0, len(counts), step):
            yield found.weights(counts[start : start + step])


def check_reached(found: Mapping[str, ClassPoint | Unreached], target: str) -> dict[str, ClassPoint]:
    """Return the operating points by class; raise an `InputError` that names all classes for which no threshold reaches the target."""
    kind = target.partition("=")[0]
    unreached = {name: each for name, each in found.items() if isinstance(each, Unreached)}
    if unreached:
        lowest = math.floor(min(each.best for each in unreached.values()) * 1000) / 1000
        shown = ", ".join(f"{name} (best {kind} {each.best:.4g})" for name, each in unreached.items())
        remedy = f"choose a lower target, such as {kind}={lowest:g}, or f1" if lowest else "choose the target f1"
        lower = "; a lower score_threshold lets a detector find more objects" if kind == "recall" else ""
        raise InputError(
            f"no threshold reaches the target {target} for {shown}. Nothing was stored; {remedy}{lower}; or train the model further"
        )
    return {name: each for name, each in found.items() if isinstance(each, ClassPoint)}


def _sorted(first: float, second: float) -> tuple[float, float]:
    return min(first, second), max(first, second)


def _ratio(part: Floats, whole: Floats) -> Floats:
    """Return part / whole; 0 where `whole` is 0."""
    return np.divide(part, whole, out=np.zeros(np.broadcast(part, whole).shape), where=whole > 0)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
