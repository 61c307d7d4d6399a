"""Votes of classifiers, checked by hand, and fitted weights, compared with scipy."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import softmax

from zoo.errors import InputError
from zoo.task.combination import Combination
from zoo.tasks.classification.combination import ProbabilityCombination

VOTES = ProbabilityCombination()


def logits(*probabilities: float, shift: float = 0.0) -> NDArray[np.float32]:
    """Return logits of these probabilities, which don't depend on the shift."""
    return np.asarray(np.log(np.array(probabilities)) + shift, np.float32)


def probabilities(answer: NDArray[Any]) -> list[float]:
    found: list[float] = softmax(answer[None].astype(np.float64), axis=1)[0].tolist()
    return found


def equal(count: int) -> list[float]:
    return [1 / count] * count


def test_soft_is_the_mean_of_probabilities_and_not_of_logits() -> None:
    several = [logits(0.5, 0.25, 0.25, shift=9), logits(0.1, 0.2, 0.7, shift=-3)]
    for answer in (VOTES.models(several, "soft", equal(2)), VOTES.views(several)):
        assert probabilities(answer) == pytest.approx([0.3, 0.225, 0.475], abs=1e-6)
        assert answer.dtype == np.float32


def test_weighted_is_the_weighted_mean() -> None:
    answer = VOTES.models([logits(0.5, 0.5), logits(0.1, 0.9)], "weighted", [0.75, 0.25])
    assert probabilities(answer) == pytest.approx([0.4, 0.6], abs=1e-6)


def test_hard_is_the_majority_whatever_its_confidence() -> None:
    several = [logits(0.4, 0.35, 0.25), logits(0.4, 0.35, 0.25), logits(0.01, 0.01, 0.98)]
    answer = VOTES.models(several, "hard", equal(3))
    assert (answer.ndim, str(answer.dtype), int(answer)) == (0, "int64", 0)
    assert int(np.argmax(VOTES.models(several, "soft", equal(3)))) == 2


def test_a_tie_goes_to_the_highest_mean_probability_among_those_voted_for() -> None:
    """The first two classes have one vote each; the third has the highest mean but no vote, so it isn't chosen."""
    several = [logits(0.5, 0.01, 0.49), logits(0.01, 0.6, 0.39)]
    assert int(VOTES.models(several, "hard", equal(2))) == 1


def test_a_certain_answer_stays_finite() -> None:
    answer = VOTES.models([np.array([200, -200], np.float32)] * 2, "soft", equal(2))
    assert np.isfinite(answer).all()
    assert probabilities(answer) == pytest.approx([1, 0])


def test_logits_in_another_order_of_classes() -> None:
    assert VOTES.recounted(np.array([7, 8, 9], np.float32), [2, 0, 1]).tolist() == [8, 9, 7]
    assert VOTES.mirrored(np.array([7, 8], np.float32), (3, 3)).tolist() == [7, 8]


# -- weights -----------------------------------------------------------------------------------------------------------


def simulated(models: int, noise: list[float]) -> tuple[list[list[NDArray[np.float32]]], list[int]]:
    """Return answers of models for 400 images of 5 classes: the ground truth plus independent noise for each model."""
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 5, 400)
    truth = 3 * np.eye(5)[labels]
    answers = [list((truth + rng.normal(0, noise[number], truth.shape)).astype(np.float32)) for number in range(models)]
    return answers, labels.tolist()


def own(answers: list[list[NDArray[np.float32]]], labels: list[int]) -> NDArray[np.float64]:
    return np.stack([softmax(np.stack(rows).astype(np.float64), axis=1)[np.arange(len(labels)), labels] for rows in answers])


@pytest.mark.parametrize("noise", [[1.0, 1.2], [0.5, 2.0, 4.0], [1.0, 1.0, 1.0]])
def test_the_weights_have_the_least_log_loss(noise: list[float]) -> None:
    answers, labels = simulated(len(noise), noise)
    weights, facts = VOTES.fit(answers, labels)
    assert min(weights) >= 0
    assert sum(weights) == pytest.approx(1, abs=1e-12)
    chances = own(answers, labels)
    best = minimize(
        lambda weights: -np.log(weights @ chances).mean(), equal(len(noise)), method="SLSQP", tol=1e-12,
        bounds=[(0, 1)] * len(noise), constraints={"type": "eq", "fun": lambda weights: weights.sum() - 1},
    )  # fmt: skip
    assert facts["log_loss"]["weighted"] == pytest.approx(best.fun, abs=2e-6)
    assert facts["log_loss"]["weighted"] <= facts["log_loss"]["soft"]
    assert facts["log_loss_above_least_by_at_most"] <= 1e-6
    assert (weights, facts) == VOTES.fit(answers, labels)


def test_a_model_that_only_guesses_gets_next_to_nothing() -> None:
    answers, labels = simulated(2, [0.5, 30.0])
    assert VOTES.fit(answers, labels)[0] == pytest.approx([1, 0], abs=0.02)


def test_a_model_that_gives_the_truth_no_chance_leaves_the_loss_finite() -> None:
    weights, facts = VOTES.fit([[np.array([400, -400], np.float32)], [np.array([300, -300], np.float32)]], [1])
    assert np.isfinite(weights).all()
    assert np.isfinite(facts["log_loss"]["weighted"])


def test_a_task_that_offers_weights_must_fit_them() -> None:
    class Careless(ProbabilityCombination):
        fit = Combination.fit

    with pytest.raises(InputError, match=re.escape("Careless lists the vote 'weighted' but doesn't implement fit; implement it")):
        Careless().fit([], [])
