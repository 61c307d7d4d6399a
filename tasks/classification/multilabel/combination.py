"""Combination of several multi-label predictions for one image by the mean of their probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_expit, logsumexp

from zoo.tasks.classification.combination import Logits, LogitsCombination


class MeanCombination(LogitsCombination):
    """Combination of multi-label classifiers by the mean probability of each class, returned as logits [K].

    A majority vote would leave no probabilities, on which the average precision depends, so the only vote is "soft".
    """

    votes: ClassVar[tuple[str, ...]] = ("soft",)

    def views(self, answers: Sequence[Logits]) -> Logits:
        """Return the logits of the mean probabilities over several views."""
        return mean_logits(answers, np.full(len(answers), 1 / len(answers)))

    def models(self, answers: Sequence[Logits], vote: str, weights: Sequence[float]) -> Logits:
        """Return the logits of the mean probabilities over several models."""
        return mean_logits(answers, np.asarray(weights, np.float64))


def mean_logits(answers: Sequence[Logits], weights: NDArray[np.float64]) -> Logits:
    """Return log(p / (1 − p)) of the weighted mean probability p, [K], computed from logarithms so that no probability rounds to 1."""
    logits = np.stack(answers).astype(np.float64)
    yes, no = (logsumexp(log_expit(sign * logits), axis=0, b=weights[:, None]) for sign in (1, -1))
    return np.asarray(yes - no, np.float32)
