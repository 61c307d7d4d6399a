"""Coverage of the 95 % confidence intervals, measured on simulated data whose true scores are known.

The docstrings state the coverage over 300 or 400 datasets, which is accurate to about 1.2 percentage points. The tests use fewer datasets
and correspondingly wider bounds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm

from zoo.evaluation.intervals import draws, interval
from zoo.task.metric import MetricResult
from zoo.tasks.classification.metrics import ClassificationMetric
from zoo.tasks.detection.data.columns import Columns, Floats, Found, Truth
from zoo.tasks.detection.metric.average_precision import weighted_scores
from zoo.tasks.detection.metric.matching import match
from zoo.tasks.face.verification.bootstrap import Pairs, standard_error
from zoo.tasks.face.verification.pairs import Pair, PairsMetric

Draw = Callable[[np.random.Generator, int], MetricResult]


def coverage(draw: Draw, truth: dict[str, float], runs: int, replicates: int) -> dict[str, float]:
    """Return the fraction of runs in which the interval of each score contains the true value."""
    rng = np.random.default_rng(7)
    held = dict.fromkeys(truth, 0)
    for _ in range(runs):
        result = draw(rng, replicates)
        for name, value in truth.items():
            score = result.scores[name]
            assert score is not None
            bounds = interval(result.replicates[name], score)
            assert bounds is not None
            held[name] += bounds[0] <= value <= bounds[1]
    return {name: count / runs for name, count in held.items()}


def test_the_interval_of_a_sum_is_that_of_efron_and_tibshirani() -> None:
    """Replicates of a skewed sum: both percentiles move towards the long tail."""
    rng = np.random.default_rng(0)
    values = rng.gamma(4, 1, 20_000) / 40
    a = float(((values - values.mean()) ** 3).mean() / values.std() ** 3 / 6)
    assert a == pytest.approx(1 / 6, abs=0.02)  # a sixth of the skewness of a gamma distribution of shape 4, which is 1
    tails = norm.cdf(a + (a + norm.ppf([0.025, 0.975])) / (1 - a * (a + norm.ppf([0.025, 0.975]))))
    assert tails[0] > 0.025
    assert tails[1] > 0.975
    assert interval(values, values.mean()) == pytest.approx(np.quantile(values, tails), abs=1e-9)


def test_the_interval_lies_about_the_score_and_within_all_and_nothing() -> None:
    values = np.random.default_rng(0).normal(0.3, 0.02, 20_000)
    assert interval(values, 0.25) == pytest.approx((0.25 - 1.96 * 0.02, 0.25 + 1.96 * 0.02), abs=2e-3)
    low, high = interval(np.random.default_rng(0).normal(0.03, 0.01, 1_000).clip(0), 0.01) or (1.0, 1.0)
    assert low == 0.0 < high
    assert interval(np.ones(100), 1.0) == (1.0, 1.0)
    assert interval(np.array([0.5] * 90 + [np.nan] * 10), 0.5) is None
    far_off = np.array([0.0] * 999 + [1.0])  # a skewness of 31 is meaningless; the percentiles must stay in order
    bounds = interval(far_off, 0.001)
    assert bounds is not None
    assert bounds[0] <= bounds[1]


def test_the_standard_error_of_pairs_that_share_people_by_hand() -> None:
    """Pairs ab, bc (sharing b) and aa: sums the products of all two pairs that share a person, including each pair with itself."""
    pairs = Pairs(np.zeros(3), np.array([False, False, True]), np.array([0, 1, 0]), np.array([1, 2, 0]))
    ab, bc, aa = influence = np.array([1.0, 2.0, 3.0])
    expected = ab**2 + bc**2 + aa**2 + 2 * ab * bc + 2 * ab * aa
    assert standard_error(influence, pairs) == pytest.approx(np.sqrt(expected))
    assert standard_error(np.array([1.0, -1.0, 0.0]), pairs) == pytest.approx(np.sqrt(2))  # never less than for independent pairs


# -- coverage ----------------------------------------------------------------------------------------------------------

SHARES = np.array([0.4, 0.3, 0.2, 0.1])


def pictures(rng: np.random.Generator, count: int, replicates: int) -> MetricResult:
    """Return the scores of an overconfident classifier of four classes, one of them rare."""
    labels = rng.choice(4, size=count, p=SHARES)
    logits = rng.normal(size=(count, 4))
    logits[np.arange(count), labels] += 1.6
    metric = ClassificationMetric(tuple("abcd"))
    metric.update(list((2 * logits).astype(np.float32)), labels.tolist(), [f"{index:06d}" for index in range(count)])
    return metric.compute(replicates)


@pytest.mark.slow
def test_intervals_of_a_classifier_hold_the_truth() -> None:
    """Coverage over 400 datasets of 300 images: top1 94.8 %, f1 93.5 %, auc 92.0 % (one class has 30 images), ece 97.0 %.

    The true value is the mean over datasets of this size. For all scores but ece this equals the score on unlimited data. The binned
    calibration error is larger on few images than on many (0.07 here, 0.05 on 50,000): only 77 % of its intervals contain the latter, and
    none of the others lie below it.
    """
    many = [pictures(np.random.default_rng(seed), 300, 0).scores for seed in range(400)]
    truth = {name: float(np.mean([scores[name] for scores in many])) for name in ("top1", "f1", "auc", "ece")}
    held = coverage(lambda rng, replicates: pictures(rng, 300, replicates), truth, 150, 300)
    assert all(0.88 <= share <= 1 for share in held.values()), held
    assert held["top1"] < 1, held


PEOPLE, EACH, FOLDS = 200, 3, 10


def protocol() -> list[Pair]:
    """Return ten folds of twenty people each, with thirty genuine and thirty impostor pairs per fold, as sparse as in LFW."""
    rng = np.random.default_rng(3)
    pairs = []
    for fold in range(FOLDS):
        people = np.arange(fold, PEOPLE, FOLDS)
        for number in range(30):
            first, second = rng.permutation(people)[:2]
            one, other = rng.permutation(EACH)[:2]
            pairs.append(Pair(f"p{people[number % 20]}/{one}", f"p{people[number % 20]}/{other}", True, fold))
            pairs.append(Pair(f"p{first}/{one}", f"p{second}/{other}", False, fold))
    return pairs


def faces(pairs: list[Pair], rng: np.random.Generator, replicates: int) -> MetricResult:
    """Return the scores of simulated people of varying difficulty: each has a different spread, and all share a common offset."""
    centre = rng.normal(size=(PEOPLE, 8))
    centre[:, 0] += 0.5
    spread = 0.6 * np.exp(0.3 * rng.normal(size=PEOPLE))
    people = np.repeat(np.arange(PEOPLE), EACH)
    rows = (centre[people] + spread[people, None] * rng.normal(size=(len(people), 8))).astype(np.float32)
    metric = PairsMetric(tuple(f"p{index}" for index in range(PEOPLE)), pairs)
    metric.update(list(rows), people.tolist(), [f"p{person}/{index % EACH}" for index, person in enumerate(people)])
    return metric.compute(replicates)


@pytest.mark.slow
def test_intervals_of_faces_hold_the_truth() -> None:
    """Coverage over 300 datasets: auc 93.7 %, rank1 94.7 %, eer 99.0 %; over 400 datasets: accuracy 97.5 %.

    With replicates from resampled identities that aren't narrowed, the coverage of auc would be 98.0 % (their deviation is 0.0126, that of
    the AUC itself 0.0099); if accuracies were narrowed as the AUC is, that of accuracy would be 92.0 %.
    """
    pairs = protocol()
    rng = np.random.default_rng(1)
    many = [faces(pairs, rng, 0).scores for _ in range(100)]
    truth = {name: float(np.mean([scores[name] for scores in many])) for name in ("auc", "accuracy", "rank1")}
    held = coverage(lambda rng, replicates: faces(pairs, rng, replicates), truth, 60, 200)
    assert all(0.86 <= share <= 1 for share in held.values()), held


def detections(rng: np.random.Generator, pictures: int, classes: int) -> Columns:
    """Return objects in a row, far apart, and detections shifted along the row, with false positives; some images are harder overall."""
    objects: list[tuple[Any, ...]] = []
    found: list[tuple[Any, ...]] = []
    for picture in range(pictures):
        hard = rng.normal()
        labels = rng.integers(classes, size=rng.poisson(4))
        for place, label in enumerate(labels):
            objects.append((picture, label, 200 * place, 0))
            if rng.random() < 1 / (1 + np.exp(hard - 1.2)):
                answered = label if rng.random() < 0.9 else rng.integers(classes)
                found.append((picture, answered, 200 * place + min(90.0, abs(rng.normal(0, 15))), 0, rng.normal(1.2 - 0.3 * hard)))
        found += [(picture, rng.integers(classes), 200 * rng.integers(20) + 50, 150, rng.normal(-0.3)) for _ in range(rng.poisson(2))]
    truth, answers = np.array(objects).reshape(-1, 4), np.array(found).reshape(-1, 5)
    none = np.zeros(len(truth), np.bool_)
    return Columns(
        tuple(str(picture) for picture in range(pictures)),
        tuple(str(label) for label in range(classes)),
        Truth(truth[:, 0].astype(int), truth[:, 1].astype(int), sized(truth[:, 2:]), np.full(len(truth), 1e4), none, none),
        Found(answers[:, 0].astype(int), answers[:, 1].astype(int), sized(answers[:, 2:4]), answers[:, 4]),
    )


def sized(corners: Floats) -> Floats:
    return np.concatenate([corners, np.full((len(corners), 2), 100.0)], axis=1)


@pytest.mark.slow
def test_intervals_of_a_detector_hold_what_data_of_this_size_gives() -> None:
    """Coverage over 300 datasets of 100 images and 20 classes: AP 93.3 % (89.0 % if not centred), AP50 92.0 %, AR100 92.3 %.

    The true value is the mean over datasets of this size. The AP on unlimited data is lower; only 55 % of these intervals contain it.
    """
    pictures, classes, runs = 100, 10, 60
    rng = np.random.default_rng(7)
    scores: list[float] = []
    bounds: list[tuple[float, float]] = []
    for _ in range(runs):
        columns = detections(rng, pictures, classes)
        matches = match(columns)
        score = float(weighted_scores(columns, matches, np.ones((1, pictures), np.int32), 100)["AP"][0])
        replicates = np.concatenate([weighted_scores(columns, matches, counts, 100)["AP"] for counts in draws(pictures, 200)])
        found = interval(replicates, score)
        assert found is not None
        scores.append(score)
        bounds.append(found)
    held = float(np.mean([low <= np.mean(scores) <= high for low, high in bounds]))
    assert 0.86 <= held <= 1
    assert np.mean([high - low for low, high in bounds]) == pytest.approx(2 * 1.96 * np.std(scores), rel=0.3)
