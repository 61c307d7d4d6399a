"""Scores of single-label classification as functions of image weights.

The weights are 1 for the scores of a dataset, or the counts of a bootstrap replicate. All scores except the AUC are computed from weighted
sums over images, so that a thousand bootstrap replicates cost only a few matrix products. The scores are defined as in scikit-learn with
`zero_division=0`. Macro averages are computed over the classes that occur or are predicted.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.special import softmax

from zoo.tasks.classification.binary import Decision

Floats = NDArray[np.float64]
BINS = 15  # number of bins of the calibration error, as in Guo et al. 2017
_AUC_STEPS = 400_000_000  # maximum of images × classes × replicates for which the AUC gets a confidence interval


def log_probabilities(probabilities: Floats) -> NDArray[np.float32]:
    """Return logits whose softmax equals the probabilities. Probabilities of 0 are replaced by the smallest normal float64."""
    return np.log(np.maximum(probabilities, np.finfo(np.float64).tiny)).astype(np.float32)


@dataclass(frozen=True)
class Answers:
    """Predictions of a classifier and the right classes, in a fixed order of images."""

    logits: Floats  # logits, [N, K]
    labels: NDArray[np.int64]  # right class of each image, [N]
    decision: Decision | None = None  # threshold of two classes; without it, the most probable class is predicted

    @cached_property
    def probabilities(self) -> Floats:
        """Softmax of the logits, [N, K]."""
        return np.asarray(softmax(self.logits, axis=1))

    @cached_property
    def answered(self) -> NDArray[np.int64]:
        """Predicted class, [N]: with a decision, that of its threshold; otherwise, the first class with the highest logit."""
        if self.decision is None:
            return np.asarray(self.logits.argmax(1))
        positive, threshold = self.decision
        return np.where(self.probabilities[:, positive].astype(np.float32).astype(np.float64) > threshold, positive, 1 - positive)

    @cached_property
    def right(self) -> NDArray[np.bool_]:
        """Whether the predicted class is right, [N]."""
        return np.asarray(self.answered == self.labels)

    @cached_property
    def confidence(self) -> Floats:
        """Probability of the most probable class, [N]."""
        return np.asarray(self.probabilities[np.arange(len(self.labels)), self.logits.argmax(1)])

    @cached_property
    def ranks(self) -> NDArray[np.int64]:
        """Rank of the right class, from 0, [N]. Of classes with equal logits, the earlier one has the better rank."""
        own = self.logits[np.arange(len(self.labels)), self.labels][:, None]
        earlier = np.arange(self.logits.shape[1]) < self.labels[:, None]
        return np.asarray(((self.logits > own) | ((self.logits == own) & earlier)).sum(1))

    @cached_property
    def bins(self) -> NDArray[np.int64]:
        """Confidence bin of each image, [N]: 0–1 is divided into `BINS` equal intervals, each including its upper bound."""
        return np.clip(np.ceil(self.confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)


def _sums(weights: Floats, groups: NDArray[np.int64], count: int, values: Floats | None = None) -> Floats:
    """Return the weighted sum of values [N] (ones if None) in each of `count` groups, [R, count]; weights are [R, N], group indices [N]."""
    rows = len(groups)
    data = np.ones(rows) if values is None else values
    return np.asarray(weights @ csr_array((data, (np.arange(rows), groups)), shape=(rows, count)))


def ratio(over: Floats, under: Floats) -> Floats:
    """Return over / under, elementwise; 0 where `under` is 0."""
    return np.divide(over, under, out=np.zeros_like(over), where=under > 0)


def class_scores(answers: Answers, weights: Floats) -> dict[str, Floats]:
    """Return precision, recall, f1, support (n) and number of predictions (answered) of each class, [R, K] each, for weights [R, N]."""
    classes = answers.logits.shape[1]
    hits = _sums(weights, answers.labels, classes, answers.right.astype(np.float64))
    support, answered = _sums(weights, answers.labels, classes), _sums(weights, answers.answered, classes)
    return {
        "precision": ratio(hits, answered),
        "recall": ratio(hits, support),
        "f1": ratio(2 * hits, support + answered),
        "n": support,
        "answered": answered,
    }


def scores(answers: Answers, weights: Floats, per_class: dict[str, Floats]) -> dict[str, Floats]:
    """Return all scores except the AUC, [R] each. `per_class` is the result of `class_scores` for the same answers and weights [R, N].

    All micro averages equal the accuracy, which is top1 unless a threshold decides, because each image has a single label and prediction.
    """
    total = weights.sum(1)
    hits = {f"top{k}": weights @ (answers.ranks < k).astype(np.float64) / total for k in (1, 5)}
    seen = (per_class["n"] + per_class["answered"]) > 0
    result = hits | {name: (per_class[name] * seen).sum(1) / seen.sum(1) for name in ("precision", "recall", "f1")}
    for name in ("precision", "recall", "f1"):
        result[f"{name}_weighted"] = (per_class[name] * per_class["n"]).sum(1) / total
        result[f"{name}_micro"] = weights @ answers.right.astype(np.float64) / total
    gap = (answers.ranks == 0) - answers.confidence
    result["ece"] = np.abs(_sums(weights, answers.bins, BINS, gap)).sum(1) / total
    return result


def auc(answers: Answers, weights: Floats) -> Floats:
    """Return the area under the ROC curve, [R]: the one-vs-rest mean over the classes with both positives and negatives.

    With two classes, it is the area of the second class, as in scikit-learn. It is NaN if no class has both positives and negatives.
    """
    classes = answers.logits.shape[1]
    chosen = [1] if classes == 2 else range(classes)
    by_picture = np.ascontiguousarray(weights.T)
    values = np.stack([_class_auc(answers.probabilities[:, index], answers.labels == index, by_picture) for index in chosen])
    known = np.isfinite(values)
    total = np.where(known, values, 0).sum(0)
    return np.asarray(np.divide(total, known.sum(0), out=np.full(len(weights), np.nan), where=known.any(0)))


def _class_auc(score: Floats, positive: NDArray[np.bool_], weights: Floats) -> Floats:
    """Return the area under the ROC curve of one class, [R].

    The images are sorted by score and divided into segments. Each group of equal scores that contains a positive is a segment, and so is
    each run of negatives between such groups. Only the sum of weights in each segment matters, and two sparse matrix products compute these
    sums for all replicates.

    `score` [N] is the predicted probability of the class for each image, `positive` [N] whether it is the true class; `weights` are [N, R].
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
    """Return whether the AUC of `draws` bootstrap replicates can be computed in reasonable time."""
    return answers.logits.size * draws <= _AUC_STEPS
