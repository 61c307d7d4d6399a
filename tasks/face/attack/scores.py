"""Scores of pairs that are decided by given thresholds, with the bootstrap over people behind their intervals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from zoo.evaluation.intervals import draws
from zoo.tasks.face.verification.bootstrap import Pairs, face_replicates
from zoo.tasks.face.verification.protocol import Floats
from zoo.tasks.face.verification.roc import roc_scores

_CURVE = ("auc", "eer")
_DECIDED = ("accuracy", "true_accept_rate", "false_accept_rate")


def score_pairs(pairs: Pairs, thresholds: Floats | None, units: int, replicates: int) -> tuple[dict[str, float | None], dict[str, Floats]]:
    """Score pairs.

    Args:
        pairs: with their similarities.
        thresholds: [P], from which on each pair is accepted as one person; None where they are unknown, and nothing is decided.
        units: people, or pairs where people aren't known.
        replicates: draws.

    Returns:
        accuracy, AUC, EER, true accept rate (genuine pairs accepted) and false accept rate (impostor pairs accepted), None where there
        is none; and each in every draw [R], NaN where a draw doesn't support it.
    """
    similar = np.asarray(pairs.values, np.float64)
    curve = roc_scores(similar[pairs.genuine], similar[~pairs.genuine])
    scores: dict[str, float | None] = {"accuracy": None, **{name: curve[name] for name in _CURVE}}
    drawn = face_replicates(units, replicates, pairs, None, None, None) if replicates else {}
    found = {name: drawn[name] for name in _CURVE if name in drawn}
    if thresholds is None:
        return {**scores, **dict.fromkeys(_DECIDED)}, found
    accepted = similar >= thresholds
    decided = replace(pairs, values=accepted == pairs.genuine)
    scores |= dict(zip(_DECIDED, _decided(decided, np.ones(len(accepted))), strict=True))
    rows = [_decided(decided, decided.weights(counts)) for chunk in draws(units, replicates) for counts in chunk]
    return scores, {
        **found,
        **({name: np.array(column) for name, column in zip(_DECIDED, zip(*rows, strict=True), strict=True)} if rows else {}),
    }


def _decided(decided: Pairs, weights: Floats) -> tuple[float, float, float]:
    """Return accuracy, true and false accept rate; both kinds weigh the same, as they do in the protocol."""
    genuine, impostor = (_mean(decided.values[kind], weights[kind]) for kind in (decided.genuine, ~decided.genuine))
    return (genuine + impostor) / 2, genuine, 1 - impostor


def _mean(right: NDArray[np.generic], weights: Floats) -> float:
    """Return the share of right decisions; NaN where a draw has none of a kind."""
    total = float(weights.sum())
    return float((np.asarray(right, np.float64) * weights).sum() / total) if total > 0 else float("nan")
