"""Scores of single-label classification as functions of how often each picture counts: once, or as often as a draw has it.

Everything is computed from weighted sums over pictures, so that a thousand bootstrap draws cost a few products of matrices. The
definitions are scikit-learn's; `zero_division` is 0, and macro averages run over the classes that occur or are answered.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

Floats = NDArray[np.float64]
BINS = 15  # of the calibration error, as in Guo et al. 2017
_AUC_STEPS = 400_000_000  # pictures × classes × draws: beyond, the AUC has no interval


def softmax(logits: Floats) -> Floats:
    """Return probabilities [N, K] of logits [N, K]."""
    shifted = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(shifted / shifted.sum(1, keepdims=True))


def log_probabilities(probabilities: Floats) -> NDArray[np.float32]:
    """Return logits whose softmax gives the probabilities; a probability of nought becomes the least that float64 holds."""
    return np.log(np.maximum(probabilities, np.finfo(np.float64).tiny)).astype(np.float32)


@dataclass(frozen=True)
class Answers:
    """Answers of a classifier, in a fixed order.

    Attributes:
        logits: [N, K] float64.
        labels: [N] the right classes.
    """

    logits: Floats
    labels: NDArray[np.int64]

    @cached_property
    def probabilities(self) -> Floats:
        """[N, K], the softmax."""
        return softmax(self.logits)

    @cached_property
    def answered(self) -> NDArray[np.int64]:
        """[N] the class with the highest logit; of equal ones the first."""
        return np.asarray(self.logits.argmax(1))

    @cached_property
    def confidence(self) -> Floats:
        """[N] the probability of the answer."""
        return self.probabilities[np.arange(len(self.labels)), self.answered]

    @cached_property
    def ranks(self) -> NDArray[np.int64]:
        """[N] at which place the right class stands, from 0; of equal logits the earlier class stands first."""
        own = self.logits[np.arange(len(self.labels)), self.labels][:, None]
        earlier = np.arange(self.logits.shape[1]) < self.labels[:, None]
        return np.asarray(((self.logits > own) | ((self.logits == own) & earlier)).sum(1))

    @cached_property
    def bins(self) -> NDArray[np.int64]:
        """[N] which of `BINS` equal parts of 0–1 the confidence lies in; a bound belongs to the bin below it."""
        return np.clip(np.ceil(self.confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)


def _sums(weights: Floats, groups: NDArray[np.int64], count: int, values: Floats | None = None) -> Floats:
    """Return the weighted sum of values (or of ones) in each group.

    Args:
        weights: [R, N].
        groups: [N], each from 0 up to `count`.
        count: G.
        values: [N].

    Returns:
        [R, G].
    """
    rows = len(groups)
    data = np.ones(rows) if values is None else values
    return np.asarray(weights @ csr_array((data, (np.arange(rows), groups)), shape=(rows, count)))


def _ratio(over: Floats, under: Floats) -> Floats:
    return np.divide(over, under, out=np.zeros_like(over), where=under > 0)


def class_scores(answers: Answers, weights: Floats) -> dict[str, Floats]:
    """Return precision, recall, f1 and support of every class, [R, K] each.

    Args:
        answers: of the classifier.
        weights: [R, N], how often each picture counts.
    """
    classes = answers.logits.shape[1]
    right = (answers.ranks == 0).astype(np.float64)
    hits = _sums(weights, answers.labels, classes, right)
    support, answered = _sums(weights, answers.labels, classes), _sums(weights, answers.answered, classes)
    return {
        "precision": _ratio(hits, answered),
        "recall": _ratio(hits, support),
        "f1": _ratio(2 * hits, support + answered),
        "n": support,
        "answered": answered,
    }


def scores(answers: Answers, weights: Floats, per_class: dict[str, Floats]) -> dict[str, Floats]:
    """Return every score but the AUC, [R] each; micro averages of single-label answers all equal top1.

    Args:
        answers: of the classifier.
        weights: [R, N], how often each picture counts.
        per_class: as `class_scores` gives it for these weights.
    """
    total = weights.sum(1)
    hits = {f"top{k}": weights @ (answers.ranks < k).astype(np.float64) / total for k in (1, 5)}
    seen = (per_class["n"] + per_class["answered"]) > 0
    result = dict(hits)
    for name in ("precision", "recall", "f1"):
        result[name] = (per_class[name] * seen).sum(1) / seen.sum(1)
    for name in ("precision", "recall", "f1"):
        result[f"{name}_weighted"] = (per_class[name] * per_class["n"]).sum(1) / total
        result[f"{name}_micro"] = hits["top1"]
    gap = (answers.ranks == 0) - answers.confidence
    result["ece"] = np.abs(_sums(weights, answers.bins, BINS, gap)).sum(1) / total
    return result


def auc(answers: Answers, weights: Floats) -> Floats:
    """Return the area under the ROC curve, the mean over the classes that occur and don't occur alone (one against the rest), [R].

    With two classes it is that of the second one, as in scikit-learn. NaN where no class has both kinds.
    """
    classes = answers.logits.shape[1]
    chosen = [1] if classes == 2 else range(classes)
    by_picture = np.ascontiguousarray(weights.T)
    values = np.stack([_class_auc(answers.probabilities[:, index], answers.labels == index, by_picture) for index in chosen])
    known = np.isfinite(values)
    total = np.where(known, values, 0).sum(0)
    return np.asarray(np.divide(total, known.sum(0), out=np.full(len(weights), np.nan), where=known.any(0)))


def _class_auc(score: Floats, positive: NDArray[np.bool_], weights: Floats) -> Floats:
    """Return the area for one class [R], from the weights of the pictures [N, R].

    Pictures in order of their scores are cut where a group of equal scores that holds a positive begins or ends: of the runs of
    negatives between them only the sums matter, and two sparse products give these for all draws at once.
    """
    order = np.argsort(-score, kind="stable")
    group = np.append(0, np.cumsum(np.diff(score[order]) != 0))
    holds = np.bincount(group, positive[order])[group] > 0
    begins = np.append(True, (holds[1:] | holds[:-1]) & (np.diff(group) != 0))
    starts = np.append(np.flatnonzero(begins), len(order))
    shape = (len(starts) - 1, len(order))
    everyone = csr_array((np.ones(len(order)), order, starts), shape=shape) @ weights
    good = csr_array((positive[order].astype(np.float64), order, starts), shape=shape) @ weights
    bad, above = everyone - good, np.cumsum(good, axis=0) - good
    area, pairs = (bad * (above + good / 2)).sum(0), good.sum(0) * bad.sum(0)
    return np.asarray(np.divide(area, pairs, out=np.full(weights.shape[1], np.nan), where=pairs > 0))


def affordable_auc(answers: Answers, draws: int) -> bool:
    """Tell whether the AUC of so many draws is worth its time."""
    return answers.logits.size * draws <= _AUC_STEPS
