"""Combination of several predictions for one image: mean of the probabilities, majority vote, or mean with fitted weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from zoo.task.combination import Combination
from zoo.tasks.classification.scores import Floats, log_probabilities

_GAP = 1e-6  # maximum difference between the log loss of the fitted weights and the minimum, in nats
_STEPS = 10_000  # maximum number of EM steps

Logits = NDArray[np.float32]


class LogitsCombination(Combination):
    """Base class of the combinations of logits [K], one per class."""

    def recounted(self, answer: Logits, new_index: Sequence[int]) -> Logits:
        """Reorder the logits [K] to the class indices of the ensemble."""
        moved = np.empty_like(answer)
        moved[list(new_index)] = answer
        return moved

    def mirrored(self, answer: Logits, size_hw: tuple[int, int]) -> Logits:
        """Return the logits unchanged, because they don't depend on positions in the image."""
        return answer


class ProbabilityCombination(LogitsCombination):
    """Combination of classifiers by soft, hard or weighted voting.

    The votes "soft" and "weighted" return logits, which are logarithms of probabilities. The vote "hard" returns only a class, so that
    top5, ece and auc, which need probabilities, are None. If several classes have the most votes, the one with the highest mean probability
    is returned. Views of one image are always combined by the mean of their probabilities.
    """

    votes: ClassVar[tuple[str, ...]] = ("soft", "hard", "weighted")

    def views(self, answers: Sequence[Logits]) -> Logits:
        """Combine the logits of several views; return the logarithm of the mean probabilities, [K]."""
        return log_probabilities(_probabilities(answers).mean(0))

    def models(self, answers: Sequence[Logits], vote: str, weights: Sequence[float]) -> NDArray[Any]:
        """Combine the logits of several models; return logits [K], or the class as a zero-dimensional int64 array for a hard vote."""
        probabilities = _probabilities(answers)
        if vote == "hard":
            # among the classes with the most votes, choose the one with the highest mean probability
            votes = np.bincount(probabilities.argmax(1), minlength=probabilities.shape[1])
            return np.asarray(np.where(votes == votes.max(), probabilities.mean(0), -1.0).argmax(), np.int64)
        return log_probabilities(np.asarray(weights, np.float64) @ probabilities)

    def fit(self, answers: Sequence[Sequence[Logits]], targets: Sequence[Any]) -> tuple[list[float], dict[str, Any]]:
        """Fit the weights of the mean by minimising the log loss of the right classes; return the weights and details of the fit.

        The weights are the mixing proportions of a mixture with known components. They are computed by the EM algorithm, which increases
        the likelihood in every step towards its only maximum (Dempster, Laird & Rubin 1977). In every step, the weights are non-negative
        and sum to 1.
        """
        labels = np.asarray(targets, np.int64)
        own = np.stack([_probabilities(logits)[np.arange(len(labels)), labels] for logits in answers])
        weights, gap = _mixture(np.maximum(own, np.finfo(np.float64).tiny))
        loss = {"weighted": _log_loss(own, weights), "soft": _log_loss(own, np.full(len(own), 1 / len(own)))}
        return weights.tolist(), {"log_loss": loss, "log_loss_above_least_by_at_most": gap}


def _probabilities(logits: Sequence[Logits]) -> Floats:
    """Convert N arrays of logits [K] to probabilities [N, K]."""
    return np.asarray(softmax(np.stack(logits).astype(np.float64), axis=1))


def _mixture(own: Floats) -> tuple[Floats, float]:
    """Fit the mixing proportions of a mixture with the EM algorithm.

    `own` [M, N] is the probability, above 0, that each component assigns to each observation. Return the proportions [M], and an upper
    bound on the difference between their log loss and the minimum, in nats.
    """
    weights = np.full(len(own), 1 / len(own))
    gap = np.inf
    for _ in range(_STEPS):
        ratio = (own / (weights @ own)).mean(1)
        gap = float(np.log(ratio.max()))  # the loss is convex, so that no weights improve it by more than this
        if gap <= _GAP:
            break
        weights = weights * ratio
    return weights / weights.sum(), gap


def _log_loss(own: Floats, weights: Floats) -> float:
    return float(-np.log(np.maximum(weights @ own, np.finfo(np.float64).tiny)).mean())
