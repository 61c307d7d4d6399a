"""Expected values of a case: which figures they can bound, and which measured figures miss their bound."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

from zoo.errors import UnknownNameError

# figures other than scores, by name, and whether more is better; `Measurement.figures` returns their values
FIGURES = {
    "latency_ms": False,
    "latency_p95_ms": False,
    "images_per_second": True,
    "eval_images_per_second": True,
    "train_seconds": False,
    "eval_seconds": False,
    "peak_memory_mib": False,
    "parameters": False,
}


def more_is_better(name: str) -> bool:
    """Return whether a larger value of a score or another figure is better."""
    return FIGURES.get(name, True)


def check_names(expect: Mapping[str, Any], patterns: Mapping[str, tuple[str, ...]], trains: bool) -> None:
    """Raise an `UnknownNameError` for a figure that a case can't measure.

    Args:
        expect: expected values by name.
        patterns: names of the scores of each head, or patterns such as "AR*"; the head "" is that of a model with one head. A head without
            patterns has scores that aren't known before it is evaluated.
        trains: whether the case trains.
    """
    known = [name for name in FIGURES if trains or name != "train_seconds"]
    known += [f"{head}/{pattern}" if head else pattern for head, names in patterns.items() for pattern in names or ("*",)]
    for name in expect:
        if not any(fnmatchcase(name, pattern) for pattern in known):
            raise UnknownNameError("score or figure in expect:", name, known)


def shortfall(name: str, bound: float | Mapping[str, float], figures: Mapping[str, float | None]) -> str | None:
    """Return a message if a figure is absent or misses its bound; None otherwise.

    Scores and rates may be at most the tolerance below the value, other figures at most the tolerance above it.
    """
    value, tolerance = (bound["value"], bound.get("tolerance", 0.0)) if isinstance(bound, Mapping) else (bound, 0.0)
    more, found = more_is_better(name), figures.get(name)
    limit = value - tolerance if more else value + tolerance
    if found is not None and (found >= limit if more else found <= limit):  # neither is true for NaN
        return None
    expected = f"{value:g}{f' ± {tolerance:g}' if tolerance else ''}" if tolerance else f"at {'least' if more else 'most'} {value:g}"
    return f"{name} is {'absent' if found is None else format(found, '.4f')}, expected {expected}"
