"""Scores of pairs decided by given thresholds, with bootstrap replicates over people."""

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
        pairs: pairs with their similarities.
        thresholds: [P] similarity from which each pair is accepted as the same person; None if unknown, so that no pair is decided.
        units: number of bootstrap units: people, or pairs if identities aren't known.
        replicates: number of bootstrap replicates.

    Returns:
        The scores: accuracy, AUC, EER, true accept rate (share of genuine pairs accepted) and false accept rate (share of impostor pairs
        accepted), None where undefined; and the value of each in every replicate [R], NaN where a replicate doesn't support it.
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
    """Return accuracy, true accept rate and false accept rate; genuine and impostor pairs have equal weight, as in the protocol."""
    genuine, impostor = (_mean(decided.values[kind], weights[kind]) for kind in (decided.genuine, ~decided.genuine))
    return (genuine + impostor) / 2, genuine, 1 - impostor


def _mean(right: NDArray[np.generic], weights: Floats) -> float:
    """Return the weighted share of correct decisions; NaN if a replicate has no pairs of this kind."""
    total = float(weights.sum())
    return float((np.asarray(right, np.float64) * weights).sum() / total) if total > 0 else float("nan")
