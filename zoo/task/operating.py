"""Operating points: the thresholds at which a model decides, as stored in its metadata, and the decisions that they are chosen from.

The metadata entry "thresholds" contains the thresholds by class name, or by use for faces. "operating_point" describes how `zoo.tune` chose
them. A class is predicted if its score is above its threshold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.errors import InputError

THRESHOLDS = "thresholds"
OPERATING_POINT = "operating_point"

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Decisions:
    """Candidates for which a model must decide between yes and no: those of one class, or of one use of a face model.

    Candidates are scored detections, images or pairs. A true object that the model can't find at any threshold is a candidate with the
    score −∞ that is right.

    Attributes:
        score: score of each candidate, [D]; −∞ for an object that isn't found at any threshold.
        right: whether "yes" is the right decision, [D].
        first: bootstrap unit of each candidate, such as the index of its image, [D].
        units: number of bootstrap units.
        default: threshold that is kept if none can be chosen; None for none.
        second: second bootstrap unit, if a candidate is a pair of two units, [D]; None if it isn't.
        limits: lowest and highest possible score.
        scale: factor by which a score is multiplied to obtain the stored threshold; −1 for distances.
    """

    score: Floats
    right: NDArray[np.bool_]
    first: Ints
    units: int
    default: float | None
    second: Ints | None = None
    limits: tuple[float, float] = (0.0, 1.0)
    scale: float = 1.0

    @property
    def positives(self) -> int:
        """Number of candidates for which "yes" is right."""
        return int(self.right.sum())

    def weights(self, counts: NDArray[np.integer]) -> Floats:
        """Return the weight of each candidate in each bootstrap replicate, [R, D], for the counts of `zoo.evaluation.intervals.draws`."""
        once = counts[:, self.first].astype(np.float64)
        if self.second is None:
            return once
        return np.asarray(once * np.where(self.first == self.second, 1, counts[:, self.second]))

    def at(self, threshold: float) -> Rates:
        """Return the rates at a stored threshold."""
        accepted = self.score > threshold / self.scale
        return Rates(int((accepted & self.right).sum()), int(accepted.sum()), self.positives)


@dataclass(frozen=True)
class Rates:
    """Counts of decisions, and the rates derived from them.

    Attributes:
        hits: number of accepted candidates that are right.
        accepted: number of accepted candidates.
        positives: number of candidates that are right.
    """

    hits: int
    accepted: int
    positives: int

    @property
    def precision(self) -> float | None:
        """Fraction of the accepted candidates that are right; None if none is accepted."""
        return self.hits / self.accepted if self.accepted else None

    @property
    def recall(self) -> float | None:
        """Fraction of the right candidates that are accepted; None if there are none."""
        return self.hits / self.positives if self.positives else None

    @property
    def f1(self) -> float | None:
        """Harmonic mean of precision and recall; None if nothing is accepted and there is nothing to find."""
        return 2 * self.hits / (self.accepted + self.positives) if self.accepted + self.positives else None


def rates_at(decisions: Mapping[str, Decisions], thresholds: Mapping[str, float]) -> dict[str, Rates]:
    """Return the rates of each class at its stored threshold, without classes that have neither objects nor accepted candidates."""
    found = {name: decisions[name].at(thresholds[name]) for name in decisions if name in thresholds}
    return {name: rates for name, rates in found.items() if rates.positives or rates.accepted}


def marks_at(rates: Mapping[str, Rates], thresholds: Mapping[str, float]) -> dict[str, tuple[float, float, str]]:
    """Return the marks of precision-recall curves (`Curve.marks`) for the operating points of all classes that have one."""
    return {
        name: (each.recall, each.precision, f"threshold {thresholds[name]:.3g}, precision {each.precision:.3g}, recall {each.recall:.3g}")
        for name, each in rates.items()
        if each.recall is not None and each.precision is not None
    }


def stored_thresholds(metadata: Sequence[Mapping[str, Any]]) -> Any:
    """Return the thresholds in the metadata of several models if all of them are equal, otherwise None, which means the defaults."""
    found = [each.get(THRESHOLDS) for each in metadata]
    return found[0] if found and all(each == found[0] for each in found) else None


def as_thresholds(stored: Any, classes: Sequence[str]) -> Floats | None:
    """Return the threshold of each class, [K]; None if none are stored.

    Args:
        stored: thresholds by class name, as in the metadata of a model; None for none.
        classes: class names by index.

    Raises:
        InputError: a class has no threshold, a threshold is for no class, or isn't a number from 0 to 1.
    """
    if stored is None:
        return None
    if not isinstance(stored, Mapping) or set(stored) != set(classes):
        given = set(stored) if isinstance(stored, Mapping) else set()
        differing = {"missing": [name for name in classes if name not in given], "unknown": sorted(given - set(classes))}
        raise InputError(
            f"thresholds in the model's metadata: expected a number for each of its {len(classes)} classes, by name"
            + "".join(f"; {what}: {', '.join(names[:5])}" for what, names in differing.items() if names)
        )
    for name, value in stored.items():
        check_threshold(value, f"thresholds in the model's metadata: {name!r}")
    return np.array([stored[name] for name in classes], np.float64)


def check_threshold(value: Any, what: str) -> None:
    """Raise an `InputError` unless a threshold is a number from 0 to 1. The message begins with `what`."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise InputError(f"{what} is {value!r}; expected a probability from 0 to 1")
