"""Tests of the scores of multi-label classification against scikit-learn and torchmetrics."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.special import expit
from sklearn import metrics
from torchmetrics.functional import classification as torchmetrics

from zoo.errors import InputError
from zoo.evaluation.intervals import draws
from zoo.task.metric import MetricResult
from zoo.tasks.classification.multilabel.metric import MultiLabelMetric
from zoo.tasks.classification.multilabel.scoring import MultiLabelScoring

CLASSES = ("a", "b", "c", "never")


def made(seed: int, unknown: float, n: int = 60) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return logits with ties [N, 4], and targets; the last class never occurs."""
    random = np.random.default_rng(seed)
    targets = (random.random((n, 4)) < [0.5, 0.2, 0.8, 0.0]).astype(np.float32)
    logits = (np.round(2 * random.normal(size=(n, 4)) + 2 * targets - 1, 1) + 0.03).astype(np.float32)
    targets[random.random((n, 4)) < unknown] = np.nan
    return logits, targets


def computed(logits: Any, targets: Any, thresholds: Any = None, replicates: int = 0, order: Any = None) -> MetricResult:
    metric = MultiLabelMetric(CLASSES, thresholds)
    for place in range(len(logits)) if order is None else order:
        metric.update([logits[place]], [targets[place]], [str(place)])
    return metric.compute(replicates)


@pytest.mark.parametrize("unknown", [0.0, 0.35])
@pytest.mark.parametrize("threshold", [0.5, 0.3])
def test_scores_equal_scikit_learn(unknown: float, threshold: float) -> None:
    logits, targets = made(3, unknown)
    result = computed(logits, targets, dict.fromkeys(CLASSES, threshold))
    probabilities = expit(logits.astype(np.float64))
    known, predicted = ~np.isnan(targets), probabilities > threshold
    columns = [(targets[rows, k], predicted[rows, k], probabilities[rows, k]) for k in range(4) for rows in (known[:, k],)]
    for name, (truth, guess, score) in zip(CLASSES, columns, strict=True):
        own = result.per_class[name]
        for key, function in (("f1", metrics.f1_score), ("precision", metrics.precision_score), ("recall", metrics.recall_score)):
            assert own[key] == pytest.approx(function(truth, guess, zero_division=0), abs=1e-12)
        wanted = None if name == "never" else pytest.approx(metrics.average_precision_score(truth, score), abs=1e-12)
        assert own["AP"] == wanted
        assert (own["n"], own["known"]) == (truth.sum(), len(truth))
    occurring = [metrics.average_precision_score(truth, score) for truth, _, score in columns[:3]]
    assert result.scores["mAP"] == pytest.approx(np.mean(occurring), abs=1e-12)
    for name, function in (("f1", metrics.f1_score), ("precision", metrics.precision_score), ("recall", metrics.recall_score)):
        macro = np.mean([function(truth, guess, zero_division=0) for truth, guess, _ in columns])
        assert result.scores[f"{name}_macro"] == pytest.approx(macro, abs=1e-12)
        assert result.scores[f"{name}_micro"] == pytest.approx(function(targets[known], predicted[known]), abs=1e-12)
    exact = [metrics.accuracy_score(targets[i : i + 1, known[i]], predicted[i : i + 1, known[i]]) for i in range(60) if known[i].any()]
    assert result.scores["subset_accuracy"] == pytest.approx(np.mean(exact))
    assert set(result.scores) == set(MultiLabelScoring.score_names)
    if not unknown:
        assert result.scores["f1_macro"] == pytest.approx(metrics.f1_score(targets, predicted, average="macro", zero_division=0))
        assert result.scores["subset_accuracy"] == pytest.approx(metrics.accuracy_score(targets, predicted))


@pytest.mark.parametrize("unknown", [0.0, 0.35])
def test_scores_equal_torchmetrics(unknown: float) -> None:
    logits, targets = made(4, unknown)
    result = computed(logits, targets)
    probabilities = torch.from_numpy(expit(logits.astype(np.float64)))
    truth = torch.from_numpy(np.where(np.isnan(targets), -1, targets)).long()
    given: dict[str, Any] = {"num_labels": 4, "ignore_index": -1}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the class that never occurs
        found = torchmetrics.multilabel_average_precision(probabilities, truth, average="none", **given)
        for name, value in zip(CLASSES[:3], found, strict=False):
            assert result.per_class[name]["AP"] == pytest.approx(float(value), abs=1e-6)
        assert result.scores["mAP"] == pytest.approx(float(found[:3].mean()), abs=1e-6)
    for average in ("micro", "macro"):
        for name in ("f1_score", "precision", "recall"):
            wanted = getattr(torchmetrics, f"multilabel_{name}")(probabilities, truth, average=average, **given)
            assert result.scores[f"{name.removesuffix('_score')}_{average}"] == pytest.approx(float(wanted), abs=1e-6)
    if not unknown:
        wanted = torchmetrics.multilabel_exact_match(probabilities, truth, num_labels=4)
        assert result.scores["subset_accuracy"] == pytest.approx(float(wanted))


def test_replicates_are_the_scores_of_the_drawn_images() -> None:
    logits, targets = made(5, 0.3, n=25)
    result = computed(logits, targets, replicates=7)
    counts = np.concatenate(list(draws(25, 7)))
    assert set(result.replicates) == set(result.scores)
    for number, count in enumerate(counts):
        again = np.repeat(np.arange(25), count)
        alone = computed(logits[again], targets[again])
        for name, values in result.replicates.items():
            assert values[number] == pytest.approx(alone.scores[name], abs=1e-12), name


def test_neither_order_nor_processes_change_the_scores() -> None:
    logits, targets = made(6, 0.2)
    whole = computed(logits, targets)
    assert computed(logits, targets, order=np.random.default_rng(0).permutation(60)).scores == whole.scores
    first, second = MultiLabelMetric(CLASSES, None), MultiLabelMetric(CLASSES, None)
    first.update(list(logits[:40]), list(targets[:40]), [str(place) for place in range(40)])
    second.update(list(logits[30:]), list(targets[30:]), [str(place) for place in range(30, 60)])
    first.merge([second.state(), first.state()])
    assert first.compute().scores == whole.scores


def test_what_is_unknown_does_not_count() -> None:
    logits, targets = made(7, 0.3)
    changed = np.where(np.isnan(targets), -logits, logits)
    assert computed(changed, targets).scores == computed(logits, targets).scores


def test_scores_that_are_undefined() -> None:
    logits = np.ones((3, 4), np.float32)
    nothing = computed(logits, np.zeros((3, 4)))
    assert nothing.scores["mAP"] is None
    assert nothing.scores["f1_micro"] == nothing.scores["subset_accuracy"] == 0
    unknown = computed(logits, np.full((3, 4), np.nan), replicates=3)
    assert set(unknown.scores.values()) == {None}
    assert unknown.per_class == {}
    assert unknown.mistakes == ()
    assert unknown.curves == ()
    assert np.isnan(unknown.replicates["f1_macro"]).all()


def test_the_worst_mistakes_come_first() -> None:
    logits = np.array([[4, -4, -4, -4], [4, -9, 9, -4], [-1, -4, 2, -4]], np.float32)
    targets = np.array([[1, 0, 0, 0], [1, 1, 0, 0], [1, np.nan, 1, np.nan]], np.float32)
    first, second = computed(logits, targets).mistakes
    assert first.keys == ("1",)
    assert first.text == "a, b: missed b with 0.00, wrongly predicted c with 1.00"
    assert first.labels == (1, 2)
    assert second.text == "a, c: missed a with 0.27"
    assert first.badness > second.badness == pytest.approx(0.731, abs=1e-3)


def test_curves() -> None:
    logits, targets = made(8, 0.2)
    (curve,) = computed(logits, targets).curves
    assert list(curve.lines) == ["a", "b", "c"]
    metric = MultiLabelMetric(tuple(map(str, range(14))), None)
    metric.update([np.arange(14), -np.arange(14)], [np.ones(14), np.zeros(14)], ["x", "y"])
    assert list(metric.compute().curves[0].lines) == ["all classes"]


@pytest.mark.parametrize(
    ("thresholds", "message"),
    [
        ({"a": 0.5}, "expected a number for each of its 4 classes, by name; missing: b, c, never"),
        ({**dict.fromkeys(CLASSES, 0.5), "d": 0.5}, "its 4 classes, by name; unknown: d"),
        ([0.5, 0.5], "expected a number for each of its 4 classes, by name; missing: a, b, c, never"),
        ({**dict.fromkeys(CLASSES, 0.5), "b": 1.5}, "'b' is 1.5; expected a probability from 0 to 1"),
        ({**dict.fromkeys(CLASSES, 0.5), "b": "high"}, "'b' is 'high'; expected a probability"),
        ({**dict.fromkeys(CLASSES, 0.5), "b": float("nan")}, "'b' is nan; expected a probability"),
    ],
)
def test_other_thresholds_are_named(thresholds: Any, message: str) -> None:
    with pytest.raises(InputError, match=f"thresholds in the model's metadata: .*{message}"):
        MultiLabelMetric(CLASSES, thresholds)


def test_answers_that_are_not_finite_and_other_targets_are_named() -> None:
    metric = MultiLabelMetric(CLASSES, None)
    with pytest.raises(InputError, match="x: its logits are not finite"):
        metric.update([np.array([0, np.nan, 0, 0])], [np.zeros(4)], ["x"])
    with pytest.raises(InputError, match="x: the target of class 1 is 3"):
        metric.update([np.zeros(4)], [np.array([0, 3, 0, 0])], ["x"])
