"""Worst pairs and curves for the evaluation report of the face task."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from zoo.task.metric import Curve, Mistake
from zoo.tasks.face.verification.bootstrap import Pairs
from zoo.tasks.face.verification.identification import Identified
from zoo.tasks.face.verification.protocol import Floats, Score
from zoo.tasks.face.verification.roc import Roc

_SHOWN = 8  # maximum number of genuine pairs, and of impostor pairs
_POINTS = 400  # points per curve
_BINS = 40


def worst_pairs(compared: Pairs, keys: Sequence[str], threshold: float | None, score: Score = "cosine") -> tuple[Mistake, ...]:
    """Return the wrongly decided pairs that are farthest from the threshold, worst first.

    Args:
        compared: pairs as positions in `keys`, with their similarities (cosines or negative Euclidean distances).
        keys: keys of the images.
        threshold: lowest similarity at which a pair counts as genuine; None to return no pairs.
        score: similarity.
    """
    if threshold is None:
        return ()
    similar = np.asarray(compared.values, np.float64)
    excess = np.where(compared.genuine, threshold - similar, similar - threshold)
    name, sign = ("similarity", 1) if score == "cosine" else ("distance", -1)
    mistakes = []
    for genuine in (False, True):
        places = np.flatnonzero((compared.genuine == genuine) & (excess > 0))
        for place in places[np.argsort(-excess[places], kind="stable")[:_SHOWN]]:
            words = "one person, taken for two people" if genuine else "two people, taken for one person"
            pair = (keys[compared.first[place]], keys[compared.second[place]])
            text = f"{words}: {name} {sign * similar[place]:.3f}, threshold {sign * threshold:.3f}"
            mistakes.append(Mistake(pair, text, float(excess[place])))
    return tuple(sorted(mistakes, key=lambda mistake: -mistake.badness))


def face_curves(genuine: Floats, impostor: Floats, identified: Identified | None) -> tuple[Curve, ...]:
    """Return the ROC, the histogram of similarities and the cumulative match characteristic, omitting those that lack data."""
    curves = []
    if len(genuine) and len(impostor):
        roc = Roc.of(genuine, impostor)
        shown = np.unique(np.linspace(0, len(roc.far) - 1, _POINTS).astype(int))
        far = np.maximum(roc.far[shown], 1 / roc.impostors)  # a logarithmic axis can't show a rate of 0
        curves.append(Curve("ROC", "false accept rate", "true accept rate", {"ROC": (far.tolist(), roc.tar[shown].tolist())}, log_x=True))
        edges = np.histogram_bin_edges(np.concatenate([genuine, impostor]), _BINS)
        middle = ((edges[1:] + edges[:-1]) / 2).tolist()
        lines = {
            name: (middle, (np.histogram(values, edges)[0] / len(values)).tolist())
            for name, values in (("one person", genuine), ("two people", impostor))
        }
        curves.append(Curve("Similarity of pairs", "similarity", "fraction of pairs", lines))
    found = identified.curve() if identified is not None else []
    if len(found) > 1:
        places = [float(rank) for rank in range(1, len(found) + 1)]
        curves.append(Curve("Cumulative match characteristic", "rank", "fraction of probes found", {"CMC": (places, found)}))
    return tuple(curves)
