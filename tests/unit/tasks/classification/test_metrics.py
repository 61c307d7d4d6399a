"""Classification scores equal scikit-learn's and torchmetrics', also on degenerate answers; draws equal repeated images."""

from __future__ import annotations

import json

import numpy as np
import pytest
import sklearn.metrics as sk
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torchmetrics.functional.classification import multiclass_calibration_error

from zoo.errors import InputError
from zoo.evaluation.intervals import draws, interval
from zoo.task.metric import MetricResult
from zoo.tasks.classification.metrics import ClassificationMetric


def scored(logits: NDArray[np.float32], labels: list[int], replicates: int = 0, classes: int | None = None) -> MetricResult:
    metric = ClassificationMetric(tuple(f"c{index}" for index in range(classes or logits.shape[1])))
    metric.update(list(logits), labels, [f"{index:04d}" for index in range(len(labels))])
    return metric.compute(replicates)


@st.composite
def answers(draw: st.DrawFn) -> tuple[NDArray[np.float32], list[int]]:
    """Few classes and values, so that ties and classes that never occur or are never predicted are common."""
    classes, count = draw(st.integers(2, 7)), draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    used = draw(st.integers(1, classes))
    logits = rng.integers(-3, 4, (count, classes)) if draw(st.booleans()) else rng.normal(size=(count, classes)) * 3
    return logits.astype(np.float32), rng.integers(used, size=count).tolist()


@given(answers())
@settings(deadline=None)
@pytest.mark.filterwarnings("ignore:y_pred contains classes:UserWarning", "ignore:The number of unique classes:UserWarning")
@pytest.mark.filterwarnings("ignore:A single label was found:UserWarning")
def test_scores_equal_scikit_learns(given_: tuple[NDArray[np.float32], list[int]]) -> None:
    logits, labels = given_
    result, answered = scored(logits, labels), logits.argmax(1)
    for average in ("macro", "micro", "weighted"):
        expected = sk.precision_recall_fscore_support(labels, answered, average=average, zero_division=0)[:3]
        suffix = "" if average == "macro" else f"_{average}"
        assert [result.scores[f"{name}{suffix}"] for name in ("precision", "recall", "f1")] == pytest.approx(list(expected), abs=1e-12)
    assert result.scores["top1"] == pytest.approx(sk.accuracy_score(labels, answered))
    names = sorted({*labels, *answered.tolist()})
    each = sk.precision_recall_fscore_support(labels, answered, labels=names, zero_division=0)
    assert list(result.per_class) == [f"c{name}" for name in names]
    for place, name in enumerate(names):
        assert list(result.per_class[f"c{name}"].values()) == pytest.approx([float(column[place]) for column in each], abs=1e-12)
    matrix = result.details["confusion_matrix"]["rows_true_columns_answered"]
    assert matrix == sk.confusion_matrix(labels, answered, labels=names).tolist()
    json.dumps(result.details, allow_nan=False)


@given(answers())
@settings(deadline=None)
def test_auc_equals_scikit_learns(given_: tuple[NDArray[np.float32], list[int]]) -> None:
    logits, labels = given_
    found = scored(logits, labels).scores["auc"]
    shifted = np.exp(logits.astype(np.float64) - logits.max(1, keepdims=True))
    probabilities = shifted / shifted.sum(1, keepdims=True)
    chosen = [1] if logits.shape[1] == 2 else range(logits.shape[1])
    each = [
        sk.roc_auc_score(np.array(labels) == index, probabilities[:, index]) for index in chosen if 0 < labels.count(index) < len(labels)
    ]
    assert found == (pytest.approx(np.mean(each), abs=1e-12) if each else None)


@given(answers())
@settings(deadline=None)
def test_calibration_error_equals_torchmetrics(given_: tuple[NDArray[np.float32], list[int]]) -> None:
    logits, labels = given_
    expected = multiclass_calibration_error(
        torch.from_numpy(logits).double().softmax(1), torch.tensor(labels), logits.shape[1], n_bins=15, norm="l1"
    )
    assert scored(logits, labels).scores["ece"] == pytest.approx(float(expected), abs=1e-5)


def test_top5_by_hand_and_ties_go_to_the_first() -> None:
    logits = np.array([[9, 8, 7, 6, 5, 4], [9, 8, 7, 6, 5, 4], [1, 1, 1, 1, 1, 1]], np.float32)
    assert scored(logits, [4, 5, 5]).scores["top5"] == pytest.approx(1 / 3)
    assert scored(logits, [4, 5, 0]).scores["top1"] == pytest.approx(1 / 3)
    assert scored(logits, [4, 5, 4]).scores["top5"] == pytest.approx(2 / 3)


def test_calibration_by_hand() -> None:
    """Two answers with 0.75, one right; one with 0.9, right: |0.5 − 0.75| · 2/3 + |1 − 0.9| · 1/3."""
    logits = np.log(np.array([[0.75, 0.25], [0.75, 0.25], [0.1, 0.9]], np.float32))
    result = scored(logits, [0, 1, 1])
    assert result.scores["ece"] == pytest.approx(0.25 * 2 / 3 + 0.1 / 3, abs=1e-6)
    assert [part["n"] for part in result.details["calibration"] if part["n"]] == [2, 1]
    (curve, *_) = result.curves
    assert curve.lines["answers"][1] == [0.5, 1.0]


def test_a_classifier_of_one_class() -> None:
    result = scored(np.zeros((3, 1), np.float32), [0, 0, 0], 20)
    assert (result.scores["top1"], result.scores["f1"], result.scores["auc"]) == (1.0, 1.0, None)


def test_each_draw_is_the_score_of_the_pictures_it_drew() -> None:
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(50, 4)).astype(np.float32), rng.integers(4, size=50).tolist()
    result = scored(logits, labels, 5)
    for number, counts in enumerate(next(draws(50, 5))):
        again = np.repeat(np.arange(50), counts)
        expected = scored(logits[again], [labels[index] for index in again]).scores
        for name, values in result.replicates.items():
            assert values[number] == pytest.approx(expected[name], abs=1e-6 if name == "ece" else 1e-12), name


def test_order_batches_and_repeated_pictures_change_nothing() -> None:
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(30, 3)).astype(np.float32), rng.integers(3, size=30).tolist()
    keys = [f"{index}" for index in range(30)]
    whole, parts = ClassificationMetric(("a", "b", "c")), [ClassificationMetric(("a", "b", "c")) for _ in range(3)]
    whole.update(list(logits), labels, keys)
    for place in rng.permutation(30):
        parts[place % 3].update([logits[place]], [labels[place]], [keys[place]])
    parts[0].update([logits[5]], [labels[5]], [keys[5]])  # as a padded sampler does
    parts[0].merge([part.state() for part in parts])
    first, second = whole.compute(20), parts[0].compute(20)
    assert first.scores == second.scores
    assert first.mistakes == second.mistakes
    assert all((values == second.replicates[name]).all() for name, values in first.replicates.items())


def test_the_worst_mistakes_come_first() -> None:
    logits = np.array([[0, 1], [0, 5], [3, 0], [0, 2]], np.float32)
    result = scored(logits, [0, 0, 0, 1])
    assert [mistake.keys for mistake in result.mistakes] == [("0001",), ("0000",)]
    assert result.mistakes[0].text == "c0, predicted c1 with 0.99"


@pytest.mark.parametrize(
    ("logits", "label", "words"),
    [
        ([np.nan, 1], 0, "its logits are not finite"),
        ([0, 1], 2, "expected a whole number from 0 to 1"),
        ([0, 1], None, "its class is None"),
    ],
)
def test_what_cannot_be_scored_is_named(logits: list[float], label: int | None, words: str) -> None:
    with pytest.raises(InputError, match=f"cat.jpg: .*{words}"):
        ClassificationMetric(("a", "b")).update([np.array(logits, np.float32)], [label], ["cat.jpg"])


@pytest.mark.slow
def test_intervals_cover_the_truth() -> None:
    """Answers that are right with a known probability: the 95 % interval contains it in 93–97 % of 400 runs."""
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        right = rng.random(300) < 0.8
        values = np.concatenate([counts @ right / 300 for counts in draws(300, 1_000, int(rng.integers(2**31)))])
        bounds = interval(values, float(right.mean()))
        assert bounds is not None
        covered += bounds[0] <= 0.8 <= bounds[1]
    assert 372 <= covered <= 388
