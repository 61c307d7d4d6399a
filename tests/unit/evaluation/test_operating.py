"""Tests of the choice of thresholds: by hand, against a search over all thresholds, and against scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.metrics import precision_recall_curve

from zoo.errors import InputError
from zoo.evaluation.operating import ClassPoint, Target, Unreached, check_reached, choose
from zoo.task.operating import Decisions

INF = float("inf")


def decisions(scores: list[float], right: list[int]) -> Decisions:
    return Decisions(np.array(scores), np.array(right, np.bool_), np.arange(len(scores)), len(scores), 0.05)


def chosen(found: Decisions, target: str, replicates: int = 0) -> ClassPoint:
    point = choose(found, Target.parse(target), replicates)
    assert isinstance(point, ClassPoint)
    return point


def values(point: ClassPoint) -> list[Any]:
    return [point.threshold, point.precision, point.recall, point.n]


# four detections, of which the first and third are right, and one object that isn't found
HAND = decisions([0.9, 0.8, 0.7, 0.6, -INF], [1, 0, 1, 0, 1])


@pytest.mark.parametrize(
    ("target", "threshold", "precision", "recall"),
    [
        ("f1", 0.65, 2 / 3, 2 / 3),
        ("precision=0.6", 0.65, 2 / 3, 2 / 3),
        ("precision=0.7", 0.85, 1, 1 / 3),
        ("recall=0.3", 0.85, 1, 1 / 3),
        ("recall=0.5", 0.65, 2 / 3, 2 / 3),
        ("cost=fp:1,fn:5", 0.65, 2 / 3, 2 / 3),
        ("cost=fp:9,fn:1", 0.85, 1, 1 / 3),
    ],
)
def test_targets_by_hand(target: str, threshold: float, precision: float, recall: float) -> None:
    point = chosen(HAND, target)
    assert values(point) == [pytest.approx(threshold), precision, recall, 3]
    assert point.kept == ""
    assert "kept" not in point.to_dict()


def test_nothing_is_accepted_if_that_costs_least() -> None:
    point = chosen(decisions([0.8, 0.6], [0, 1]), "cost=fp:9,fn:1")
    assert values(point) == [pytest.approx(0.9), None, 0, 1]


def test_the_lowest_threshold_lies_between_the_lowest_score_and_0() -> None:
    assert chosen(decisions([0.8, 0.6], [0, 1]), "recall=1").threshold == pytest.approx(0.3)


def test_candidates_with_equal_scores_are_accepted_together() -> None:
    point = chosen(decisions([0.8, 0.5, 0.5, 0.2], [1, 1, 0, 0]), "recall=1")
    assert values(point) == [pytest.approx(0.35), 2 / 3, 1, 2]


def test_a_class_without_objects_or_without_right_candidates_keeps_the_default() -> None:
    nothing = chosen(decisions([0.8, 0.6], [0, 0]), "precision=0.9")
    assert (nothing.threshold, nothing.n, nothing.kept) == (0.05, 0, "no objects in the validation data")
    wrong = chosen(decisions([0.8, -INF], [0, 1]), "f1")
    assert (wrong.threshold, wrong.n, wrong.kept) == (0.05, 1, "nothing that the model finds is right")
    assert wrong.to_dict()["kept"] == wrong.kept


def test_classes_that_no_threshold_brings_to_the_target_are_named_with_the_best_value() -> None:
    low = choose(HAND, Target.parse("recall=0.9"), 0)
    none = choose(decisions([0.8, -INF], [0, 1]), Target.parse("precision=0.5"), 0)
    assert low == Unreached(2 / 3)
    assert none == Unreached(0.0)
    good = chosen(HAND, "f1")
    with pytest.raises(InputError, match=r"for dog \(best recall 0\.6667\)\. .*recall=0\.666, or f1; a lower score_threshold"):
        check_reached({"dog": low, "cat": good}, "recall=0.9")
    with pytest.raises(InputError, match=r"for cat \(best precision 0\).*choose the target f1"):
        check_reached({"cat": none}, "precision=0.5")
    assert check_reached({"cat": good}, "f1") == {"cat": good}


@pytest.mark.parametrize(
    "text",
    ["", "f2", "f1=3", "precision", "precision=0", "precision=1.1", "recall=x", "recall=nan",
     "cost=fp:1", "cost=fp:1,fn:-1", "cost=fp:0,fn:0", "cost=fp:1,fn:1,fp:2", "cost=1,5"],
)  # fmt: skip
def test_other_targets_are_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"the target is .*; expected f1, precision=P"):
        Target.parse(text)


CANDIDATES = st.lists(st.tuples(st.sampled_from([0.1, 0.2, 0.25, 0.4, 0.5, 0.75, 0.9, -INF]), st.booleans()), min_size=1, max_size=25)


def rates(found: Decisions, threshold: float) -> tuple[int, int, int]:
    accepted = found.score > threshold
    return int((accepted & found.right).sum()), int((accepted & ~found.right).sum()), int((found.right & ~accepted).sum())


@given(CANDIDATES, st.sampled_from([0.3, 0.5, 2 / 3, 0.9, 1.0]))
def test_the_choice_is_the_best_of_all_thresholds(candidates: list[tuple[float, bool]], least: float) -> None:
    found = decisions([score for score, _ in candidates], [int(right or score == -INF) for score, right in candidates])
    if not found.positives:
        return
    every = [rates(found, threshold) for threshold in np.linspace(0, 1, 201)]
    f1 = [2 * tp / (2 * tp + fp + fn) for tp, fp, fn in every]
    point = choose(found, Target("f1"), 0)
    if max(f1) > 0:
        assert isinstance(point, ClassPoint)
        assert point.threshold is not None
        tp, fp, fn = rates(found, point.threshold)
        assert 2 * tp / (2 * tp + fp + fn) == max(f1)
        assert (point.precision, point.recall) == (tp / (tp + fp), tp / (tp + fn))
    cost = choose(found, Target("cost", costs=(1.5, 4.0)), 0)
    assert isinstance(cost, ClassPoint)
    assert cost.threshold is not None
    tp, fp, fn = rates(found, cost.threshold)
    assert 1.5 * fp + 4 * fn == min(1.5 * fp + 4 * fn for _, fp, fn in every)
    precise = [(tp / (tp + fn), tp / (tp + fp)) for tp, fp, fn in every if tp and tp / (tp + fp) >= least]
    point = choose(found, Target("precision", least), 0)
    assert isinstance(point, ClassPoint) == bool(precise)
    if isinstance(point, ClassPoint):
        assert point.precision is not None
        assert point.precision >= least
        assert point.recall == max(recall for recall, _ in precise)
    recalled = [(tp / (tp + fp), tp / (tp + fn)) for tp, fp, fn in every if tp and tp / (tp + fn) >= least]
    point = choose(found, Target("recall", least), 0)
    assert isinstance(point, ClassPoint) == bool(recalled)
    if isinstance(point, ClassPoint):
        assert (point.precision, point.recall) == max(recalled)


def test_precision_and_recall_are_those_of_scikit_learn() -> None:
    random = np.random.default_rng(5)
    right = random.random(300) < 0.3
    scores = np.round(np.clip(random.normal(0.4 + 0.2 * right, 0.2), 0.01, 0.99), 2)
    found = decisions(scores.tolist(), right.astype(int).tolist())
    precision, recall, thresholds = precision_recall_curve(right, scores)
    for least in (0.5, 0.7, 0.8):
        reached = np.flatnonzero(precision[:-1] >= least)
        best = reached[np.argmax(recall[reached])]
        point = chosen(found, f"precision={least}")
        assert values(point)[1:3] == [pytest.approx(precision[best]), recall[best]]
        lower = thresholds[best - 1] if best else 0.0
        assert point.threshold == pytest.approx((thresholds[best] + lower) / 2)  # halfway to the next lower score


def test_intervals_cover_the_thresholds_of_other_samples() -> None:
    """Half of the positives lie above 0.6 and half of the negatives below 0.4; the more samples, the narrower the intervals."""
    widths = []
    for count in (100, 1600):
        random = np.random.default_rng(count)
        right = random.random(count) < 0.5
        scores = np.where(right, 0.3 + 0.6 * random.random(count), 0.6 * random.random(count))
        found = decisions(scores.tolist(), right.astype(int).tolist())
        point = chosen(found, "f1", 300)
        assert point.interval is not None
        assert point.precision_interval is not None
        assert point.recall_interval is not None
        assert point.threshold is not None
        assert point.interval[0] <= point.threshold <= point.interval[1]
        assert 0 < point.precision_interval[0] < (point.precision or 0) < point.precision_interval[1] <= 1
        widths.append(point.recall_interval[1] - point.recall_interval[0])
    assert widths[1] < widths[0] / 2


def test_expected_rates_are_less_optimistic_than_those_on_the_validation_data() -> None:
    """Scores are normal, so that the true rates at a threshold are known; 60 datasets of 100 images."""
    random = np.random.default_rng(3)
    bias = []
    for _ in range(60):
        right = random.random(100) < 0.3
        point = chosen(decisions(norm.cdf(random.normal(0.9 * (2 * right - 1))).tolist(), right.astype(int).tolist()), "f1", 60)
        place = norm.ppf(point.threshold)
        hits, false = 0.3 * norm.sf(place - 0.9), 0.7 * norm.sf(place + 0.9)
        precision, recall = hits / (hits + false), hits / 0.3
        shown, expected = [point.precision, point.recall], [point.expected_precision, point.expected_recall]
        assert None not in (*shown, *expected)
        bias.append(np.subtract([*shown, *expected], [precision, recall] * 2))  # type: ignore[arg-type]
    found = np.mean(bias, axis=0)
    assert (found[:2] > 0.03).all()
    assert (np.abs(found[2:]) < found[:2] / 2).all()


def test_replicates_resample_units_and_not_candidates() -> None:
    """All candidates of one image are drawn together: with two images of 50 equal candidates, precision is 0, 1 or 0.5."""
    found = Decisions(np.full(100, 0.8), np.repeat([True, False], 50), np.repeat([0, 1], 50), 2, None)
    weights = found.weights(np.array([[2, 0], [1, 1]], np.int32))
    assert weights[0].tolist() == [2] * 50 + [0] * 50
    pairs = Decisions(np.array([0.8]), np.array([False]), np.array([0]), 2, None, np.array([1]))
    assert pairs.weights(np.array([[2, 3], [1, 0]], np.int32)).tolist() == [[6], [0]]
    alone = Decisions(np.array([0.8]), np.array([True]), np.array([1]), 2, None, np.array([1]))
    assert alone.weights(np.array([[2, 3]], np.int32)).tolist() == [[3]]


def test_distances_are_scaled_scores() -> None:
    found = Decisions(np.array([-0.2, -0.5]), np.array([True, False]), np.arange(2), 2, None, None, (-2.0, 0.0), -1.0)
    point = chosen(found, "f1", 50)
    assert point.threshold == pytest.approx(0.35)
    assert found.at(0.35).precision == 1
    assert found.at(0.6).accepted == 2
