"""The 95 % intervals hold the truth about as often as they say, on data made so that the truth is known.

Run with 400 and more data sets of each kind the shares were: see the docstrings. Here there are fewer, and the bounds are as much wider
as the luck of so few is.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from zoo.task import MetricResult
from zoo.tasks.classification.metrics import ClassificationMetric
from zoo.tasks.face.pair_metric import PairsMetric
from zoo.tasks.face.pairs import Pair
from zoo.tasks.face.replicates import Pairs, standard_error
from zoo.uncertainty import interval

Draw = Callable[[np.random.Generator, int], MetricResult]


def coverage(draw: Draw, truth: dict[str, float], runs: int, replicates: int) -> dict[str, float]:
    """Return how often the interval of each score holds the truth."""
    rng = np.random.default_rng(7)
    held = dict.fromkeys(truth, 0)
    for _ in range(runs):
        result = draw(rng, replicates)
        for name, value in truth.items():
            bounds = interval(result.replicates[name], result.scores[name])
            assert bounds is not None
            held[name] += bounds[0] <= value <= bounds[1]
    return {name: count / runs for name, count in held.items()}


def test_the_interval_of_a_sum_is_that_of_efron_and_tibshirani() -> None:
    """Replicates of a lopsided sum: both percentiles move towards the long tail; without the estimate they stay."""
    rng = np.random.default_rng(0)
    values = rng.gamma(4, 1, 20_000) / 8
    values = values - values.mean() + 0.5
    plain, corrected = interval(values), interval(values, 0.5)
    assert plain is not None
    assert corrected is not None
    assert plain[0] < corrected[0] < 0.5 < plain[1] < corrected[1]
    a = float(((values - values.mean()) ** 3).mean() / values.std() ** 3 / 6)
    assert a == pytest.approx(1 / 6, abs=0.02)  # a sixth of the skewness of a gamma distribution of shape 4, which is 1
    from scipy.stats import norm

    tails = norm.cdf(a + (a + norm.ppf([0.025, 0.975])) / (1 - a * (a + norm.ppf([0.025, 0.975]))))
    assert corrected == pytest.approx(np.quantile(values, tails), abs=1e-6)


def test_draws_that_are_off_move_the_interval_the_other_way() -> None:
    values = np.random.default_rng(0).normal(0.3, 0.02, 20_000)
    bounds = interval(values, 0.25)  # the draws are 0.05 above the estimate, so the estimate is taken as 0.05 above the truth
    assert bounds == pytest.approx((0.2 - 1.96 * 0.02, 0.2 + 1.96 * 0.02), abs=2e-3)
    low, high = interval(np.random.default_rng(0).normal(0.03, 0.01, 1_000).clip(0), 0.01) or (1.0, 1.0)
    assert low == 0.0 < high  # never below nought
    assert interval(np.ones(100), 1.0) == (1.0, 1.0)
    assert interval(np.array([0.5] * 90 + [np.nan] * 10), 0.5) is None


def test_the_standard_error_of_pairs_that_share_people_by_hand() -> None:
    """Pairs ab, bc (sharing b) and aa: products of all two pairs that share somebody, each with itself too."""
    pairs = Pairs(np.zeros(3), np.array([False, False, True]), np.array([0, 1, 0]), np.array([1, 2, 0]))
    ab, bc, aa = influence = np.array([1.0, 2.0, 3.0])
    expected = ab**2 + bc**2 + aa**2 + 2 * ab * bc + 2 * ab * aa
    assert standard_error(influence, pairs) == pytest.approx(np.sqrt(expected))
    assert standard_error(np.array([1.0, -1.0, 0.0]), pairs) == pytest.approx(np.sqrt(2))  # never less than of independent pairs


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
    """Of 400 data sets of 300 pictures held it: top1 94.5 %, f1 94.0 %, auc 92.2 % (a class has 30 pictures), ece 88.0 %.

    The binned calibration error is biased upwards (0.07 where the truth is 0.05 here), and its draws are so again: plain percentiles
    hold the truth in 26 %. Moved back by twice the bias of the draws they are honest, but still not 95 %.
    """
    large = [pictures(np.random.default_rng(seed), 50_000, 0).scores for seed in range(4)]
    truth = {name: float(np.mean([scores[name] for scores in large])) for name in ("top1", "f1", "auc", "ece")}
    held = coverage(lambda rng, replicates: pictures(rng, 300, replicates), truth, 150, 300)
    assert all(0.89 <= held[name] <= 0.99 for name in ("top1", "f1", "auc")), held
    assert 0.78 <= held["ece"] <= 0.97, held


PEOPLE, EACH, FOLDS = 200, 3, 10


def protocol() -> list[Pair]:
    """Return ten folds of twenty people each, with thirty genuine and thirty impostor pairs, as sparse as LFW's."""
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
    """Return the scores of people some of whom are much harder than others: each has a spread of its own, and all lean one way."""
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
    """Of 300 data sets auc held it in 94.0 %, rank1 in 94.3 %, eer in 97.7 %; of 400 accuracy in 97.3 %.

    With replicates as the identities are drawn, auc would hold it in 97.8 % (their deviation 0.0126, that of the AUC itself 0.0099);
    with accuracies narrowed as the AUC is, 92.0 %.
    """
    pairs = protocol()
    rng = np.random.default_rng(1)
    many = [faces(pairs, rng, 0).scores for _ in range(100)]
    truth = {name: float(np.mean([scores[name] for scores in many])) for name in ("auc", "accuracy", "rank1")}
    held = coverage(lambda rng, replicates: faces(pairs, rng, replicates), truth, 60, 200)
    assert all(0.86 <= share <= 1 for share in held.values()), held
