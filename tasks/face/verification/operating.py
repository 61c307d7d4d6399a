"""Operating points of face models: precision and recall of verification and of identification as functions of a distance.

Two faces count as the same person, and an enrolled person is named, if the distance lies below the undecided band around the threshold
(`embedding.distances.BAND`). The thresholds are therefore larger than the largest accepted distance by the width of the band, and an
undecided answer counts as "no".
"""

from __future__ import annotations

import numpy as np

from zoo.task.operating import Decisions, Floats
from zoo.tasks.face.embedding.distances import BAND
from zoo.tasks.face.verification.bootstrap import Pairs
from zoo.tasks.face.verification.identification import Probes
from zoo.tasks.face.verification.protocol import Score

VERIFICATION, IDENTIFICATION = "verification", "identification"
_SCALE = -1 / (1 - BAND)  # from negative distances to thresholds


def verification_decisions(pairs: Pairs, units: int, score: Score) -> Decisions:
    """Return the decisions about pairs, of which the genuine ones are right. The bootstrap units are those of the pairs."""
    scores = _negative_distances(pairs.values, score)
    return Decisions(scores, pairs.genuine, pairs.first, units, None, pairs.second, _limits(scores), _SCALE)


def identification_decisions(probes: Probes | None, people: int, score: Score) -> Decisions:
    """Return the decisions about probes, of which those whose nearest enrolled person is the right one are right.

    A probe of an enrolled person whose nearest one is another person is a wrong candidate, and its person isn't found at any threshold.
    None, for data without identities, gives no decisions.
    """
    if probes is None or not len(probes.best):
        return Decisions(np.empty(0), np.empty(0, np.bool_), np.empty(0, np.int64), people, None, None, (-2.0, 0.0), _SCALE)
    missed = probes.mated[~probes.right]
    found = _negative_distances(np.concatenate([probes.best, probes.best_others]), score)
    return Decisions(
        np.append(found, np.full(len(missed), -np.inf)),
        np.concatenate([probes.right, np.zeros(len(probes.others), np.bool_), np.ones(len(missed), np.bool_)]),
        np.concatenate([probes.mated, probes.others, missed]),
        people,
        None,
        None,
        _limits(found),
        _SCALE,
    )


def lowest_accepted(threshold: float, score: Score) -> float:
    """Return the similarity above which two faces count as the same person, for the distance at which the model decides."""
    return (1 if score == "cosine" else 0) + threshold / _SCALE


def _negative_distances(similarities: Floats, score: Score) -> Floats:
    return np.asarray(similarities - 1 if score == "cosine" else similarities, np.float64)


def _limits(scores: Floats) -> tuple[float, float]:
    """Return the lowest and highest negative distance: twice the largest distance bounds the threshold that accepts everything."""
    return min(-2.0, 2 * float(scores.min(initial=0.0))), 0.0
