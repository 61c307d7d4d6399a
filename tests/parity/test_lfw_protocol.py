"""LFW's protocol against a second, plain implementation written from the paper, and against scikit-learn's curves.

Huang et al. 2007: ten folds in the file's order, each decided with the threshold that is best on the nine others; the estimated mean
accuracy and its standard error, the standard deviation over the folds divided by the square root of their number.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

from zoo.task.metric import MetricResult
from zoo.tasks.face.verification.pairs import Pair, PairsMetric
from zoo.tasks.face.verification.protocol import Floats, Score

FOLDS, EACH = 10, 30
PAIRS = [
    Pair(f"{fold}{kind}{number}/1", f"{fold}{kind}{number}/2", kind == "s", fold)
    for fold in range(FOLDS)
    for kind in "sd"
    for number in range(EACH)
]
KEYS = [key for pair in PAIRS for key in (pair.first, pair.second)]


def embeddings(signal: float, ties: bool, seed: int = 0) -> dict[str, Floats]:
    """Return embeddings in which genuine pairs share a component; with `ties`, only their signs, so that many similarities are equal."""
    rng = np.random.default_rng(seed)
    made = {}
    for pair in PAIRS:
        shared = rng.normal(size=16)
        for key in (pair.first, pair.second):
            row = rng.normal(size=16) + (signal * shared if pair.same else signal * rng.normal(size=16))
            made[key] = np.sign(row[:4]) if ties else row
    return made


def scored(rows: dict[str, Floats], score: Score, shuffled: bool = True) -> MetricResult:
    metric = PairsMetric((), PAIRS, score)
    keys = [KEYS[index] for index in np.random.default_rng(1).permutation(len(KEYS))] if shuffled else KEYS
    metric.update([rows[key].astype(np.float32) for key in keys], [None] * len(keys), keys)
    return metric.compute()


def plainly(rows: dict[str, Floats], score: Score) -> tuple[list[float], list[float], list[bool]]:
    """Return the accuracy of each fold, the similarity of each pair, and whether it is genuine, without vectorisation or shared code."""
    similar, same = [], []
    for pair in PAIRS:
        a, b = (rows[key].astype(np.float32).astype(np.float64) for key in (pair.first, pair.second))
        if score == "cosine":
            similar.append(float(sum((a / sum(a * a) ** 0.5) * (b / sum(b * b) ** 0.5))))
        else:
            similar.append(-float(sum((a - b) ** 2) ** 0.5))
        same.append(pair.same)
    similar = [round(value, 12) for value in similar]  # equal up to the order of additions
    accuracies = []
    for fold in range(FOLDS):
        others = [index for index, pair in enumerate(PAIRS) if pair.fold != fold]
        values = sorted({similar[index] for index in others})
        candidates = [values[0] - 1, *((a + b) / 2 for a, b in itertools.pairwise(values)), values[-1] + 1]
        best = max(candidates, key=lambda threshold: (sum((similar[i] >= threshold) == same[i] for i in others), -threshold))
        mine = [index for index, pair in enumerate(PAIRS) if pair.fold == fold]
        accuracies.append(sum((similar[i] >= best) == same[i] for i in mine) / len(mine))
    return accuracies, similar, same


@pytest.mark.parametrize("score", ["cosine", "euclidean"])
@pytest.mark.parametrize("ties", [False, True])
def test_the_protocol_equals_the_plain_one(score: Score, ties: bool) -> None:
    rows = embeddings(1.2, ties)
    result = scored(rows, score)
    accuracies, similar, same = plainly(rows, score)
    assert 0.6 < np.mean(accuracies) < 0.95  # neither chance nor perfect, so the implementations could differ
    assert [fold["accuracy"] for fold in result.details["per_fold"]] == pytest.approx(accuracies, abs=1e-12)
    assert result.scores["accuracy"] == pytest.approx(np.mean(accuracies), abs=1e-12)
    assert result.scores["accuracy_std"] == pytest.approx(np.std(accuracies, ddof=1) / np.sqrt(FOLDS), abs=1e-12)
    assert result.scores["accuracy_all"] == result.scores["accuracy"]
    assert result.scores["auc"] == pytest.approx(roc_auc_score(same, similar), abs=1e-12)


def test_rates_are_those_of_every_threshold_tried() -> None:
    """EER and TAR@FAR follow their definitions, counted at every threshold."""
    rng = np.random.default_rng(0)
    pairs = [Pair(f"{index}a", f"{index}b", index < 400, index % 10) for index in range(2_400)]
    rows = {key: np.array([1.0, 0.0]) for pair in pairs for key in (pair.first, pair.second)}
    for pair in pairs:
        angle = rng.normal(0.9 if pair.same else 1.4, 0.3)
        rows[pair.second] = np.array([np.cos(angle), np.sin(angle)])
    metric = PairsMetric((), pairs)
    metric.update([row.astype(np.float32) for row in rows.values()], [None] * len(rows), list(rows))
    scores = metric.compute().scores
    similar = np.array([float(np.float32(rows[pair.second][0])) for pair in pairs])
    similar /= [float(np.linalg.norm(rows[pair.second].astype(np.float32).astype(np.float64))) for pair in pairs]
    genuine, impostor = similar[:400], similar[400:]
    tried = [(float((impostor >= t).mean()), float((genuine >= t).mean())) for t in np.unique(similar)]
    assert scores["tar@1e-2"] == pytest.approx(max(tar for far, tar in tried if far <= 1e-2))
    assert scores["tar@1e-3"] is None  # 2,000 impostor pairs are too few for a rate of two in 2,000
    far, tar, _ = roc_curve(np.arange(2_400) < 400, similar, drop_intermediate=False)
    between = np.flatnonzero((far[:-1] <= 1 - tar[:-1]) & (far[1:] >= 1 - tar[1:]))[0]
    low, high = sorted((far[between], far[between + 1]))
    assert low <= (scores["eer"] or 0) <= high
    assert scores["eer"] == pytest.approx(min(max(f, 1 - t) for f, t in tried), abs=1 / 400)


def test_random_embeddings_score_chance_and_their_lengths_mean_nothing() -> None:
    """Hazard 10. A threshold chosen on the scored fold of twenty pairs would exceed chance."""
    rng = np.random.default_rng(2)
    pairs = [Pair(f"{index}a", f"{index}b", index % 2 == 0, index // 20) for index in range(6_000)]
    keys = [key for pair in pairs for key in (pair.first, pair.second)]
    rows = rng.normal(size=(len(keys), 32)).astype(np.float32)
    lengths = rng.uniform(0.01, 100, (len(keys), 1)).astype(np.float32)
    results = []
    for embedded in (rows, rows * lengths):
        metric = PairsMetric((), pairs)
        metric.update(list(embedded), [None] * len(keys), keys)
        results.append(metric.compute())
    assert results[0].scores["accuracy"] == pytest.approx(0.5, abs=0.02)
    assert results[0].scores["auc"] == pytest.approx(0.5, abs=0.02)
    for name, value in results[1].scores.items():
        assert value == pytest.approx(results[0].scores[name], abs=1e-9), name
