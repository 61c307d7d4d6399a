"""Several classifiers asked at once: their probabilities averaged, their answers counted, or weighed by what they are worth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from zoo.tasks.classification.counts import Floats, log_probabilities, softmax

_CLOSE = 1e-6  # nats of log-loss that the fitted weights may be off the best ones
_STEPS = 10_000
_LEAST = 1e-300  # a probability of nought has no logarithm


def soft(logits: Sequence[NDArray[np.float32]], weights: Sequence[float] | None = None) -> NDArray[np.float32]:
    """Return the (weighted) mean of the models' probabilities, as logits.

    Args:
        logits: [K] of each of M models.
        weights: [M], not negative and 1 together; None for equal ones.

    Returns:
        [K] float32: logarithms of the mean probabilities.
    """
    return log_probabilities(np.average(_probabilities(logits), axis=0, weights=weights))


def hard(logits: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Return the majority's answer, as logits; where as many models say one thing as another, the mean probability decides.

    The probability of a class is (its votes + its mean probability) / (M + 1). That adds up to 1 and ranks by votes first: a class
    that a model voted for has some probability, so no other one's mean can make up for a whole vote.
    """
    each = _probabilities(logits)
    votes = np.bincount(np.stack(logits).argmax(1), minlength=each.shape[1])
    return log_probabilities((votes + each.mean(0)) / (len(each) + 1))


def fit_weights(logits: Sequence[Sequence[NDArray[np.float32]]], labels: Sequence[int]) -> list[float]:
    """Find the weights with which the mean of the models' probabilities has the least log-loss.

    Expectation maximisation for the shares of a mixture (Dempster, Laird & Rubin 1977): every step lowers the log-loss, which is
    convex in the weights, and the largest gradient tells how far it can still fall.

    Args:
        logits: [K] of each of M models for each of N samples: M sequences of N.
        labels: [N] the right classes.

    Returns:
        [M] weights, not negative and 1 together.
    """
    right = np.array(labels)
    # [M, N] what each model gave the right class
    given = np.stack([softmax(np.stack(model).astype(np.float64))[np.arange(len(right)), right] for model in logits])
    given = np.maximum(given, _LEAST)
    weights = np.full(len(given), 1 / len(given))
    for _ in range(_STEPS):
        gradient = (given / (weights @ given)).mean(1)
        if gradient.max() - 1 <= _CLOSE:
            break
        weights = weights * gradient
        weights /= weights.sum()
    return [float(weight) for weight in weights]


def _probabilities(logits: Sequence[NDArray[np.float32]]) -> Floats:
    return softmax(np.stack(logits).astype(np.float64))
