"""Combination of several classifiers' answers for one image: mean of the probabilities, majority, or a mean with fitted weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from zoo.task.combination import Combination
from zoo.tasks.classification.scores import Floats, log_probabilities

_GAP = 1e-6  # tolerance of the fitted weights' log loss above the minimum, in nats
_STEPS = 10_000

Logits = NDArray[np.float32]


class ProbabilityCombination(Combination):
    """Votes over probabilities; views of one image are always combined by their mean.

    "soft" and "weighted" return logits: logarithms of probabilities. "hard" returns only classes, so that top5, ece and auc, which need
    probabilities, have no value. Of classes with equally many votes, the one with the highest mean probability is returned.
    """

    votes: ClassVar[tuple[str, ...]] = ("soft", "hard", "weighted")

    def recounted(self, answer: Logits, new_index: Sequence[int]) -> Logits:
        """Return the logits [K] in the order of the ensemble's classes."""
        moved = np.empty_like(answer)
        moved[list(new_index)] = answer
        return moved

    def mirrored(self, answer: Logits, size_hw: tuple[int, int]) -> Logits:
        """Return the logits unchanged: they have no position in the image."""
        return answer

    def views(self, answers: Sequence[Logits]) -> Logits:
        """Return the logarithm of the mean probabilities [K]."""
        return log_probabilities(_probabilities(answers).mean(0))

    def models(self, answers: Sequence[Logits], vote: str, weights: Sequence[float]) -> NDArray[Any]:
        """Return logits [K], or for a hard vote the class as a zero-dimensional int64 array."""
        probabilities = _probabilities(answers)
        if vote == "hard":
            # of classes with equally many votes, the one with the highest mean probability
            votes = np.bincount(probabilities.argmax(1), minlength=probabilities.shape[1])
            return np.asarray(np.where(votes == votes.max(), probabilities.mean(0), -1.0).argmax(), np.int64)
        return log_probabilities(np.asarray(weights, np.float64) @ probabilities)

    def fit(self, answers: Sequence[Sequence[Logits]], targets: Sequence[Any]) -> tuple[list[float], dict[str, Any]]:
        """Return the weights of the mean that minimise the log loss of the right classes.

        They are the shares of a mixture with known components, whose likelihood the EM algorithm increases in every step towards its
        only maximum (Dempster, Laird & Rubin 1977). In every step the weights are non-negative and sum to 1.
        """
        labels = np.asarray(targets, np.int64)
        own = np.stack([_probabilities(logits)[np.arange(len(labels)), labels] for logits in answers])
        weights, gap = _mixture(np.maximum(own, np.finfo(np.float64).tiny))
        loss = {"weighted": _log_loss(own, weights), "soft": _log_loss(own, np.full(len(own), 1 / len(own)))}
        return weights.tolist(), {"log_loss": loss, "log_loss_above_least_by_at_most": gap}


def _probabilities(logits: Sequence[Logits]) -> Floats:
    """Return the probabilities [N, K] of N rows of logits [K]."""
    return np.asarray(softmax(np.stack(logits).astype(np.float64), axis=1))


def _mixture(own: Floats) -> tuple[Floats, float]:
    """Return the shares [M], and an upper bound of their log loss above the minimum, in nats.

    `own` [M, N] is the probability, above 0, that each component assigns to each observation.
    """
    weights = np.full(len(own), 1 / len(own))
    gap = np.inf
    for _ in range(_STEPS):
        ratio = (own / (weights @ own)).mean(1)
        gap = float(np.log(ratio.max()))  # the loss is convex: no weights are better by more than this
        if gap <= _GAP:
            break
        weights = weights * ratio
    return weights / weights.sum(), gap


def _log_loss(own: Floats, weights: Floats) -> float:
    return float(-np.log(np.maximum(weights @ own, np.finfo(np.float64).tiny)).mean())
