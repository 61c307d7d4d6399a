"""The verification protocol against hand-computed values, brute force and scikit-learn."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score, roc_curve

from zoo.tasks.face.verification import protocol
from zoo.tasks.face.verification.identification import closed_set
from zoo.tasks.face.verification.protocol import Floats
from zoo.tasks.face.verification.roc import Roc


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def brute_force(identities: list[int], genuine: bool) -> set[frozenset[int]]:
    return {
        frozenset(pair)
        for pair in itertools.combinations(range(len(identities)), 2)
        if (len({identities[i] for i in pair}) == 1) == genuine
    }


@given(st.lists(st.integers(0, 5), max_size=14), st.booleans())
def test_all_pairs_are_those_of_brute_force(identities: list[int], genuine: bool) -> None:
    pairs = protocol.sample_pairs(np.array(identities, np.int64), genuine, 1000, rng())
    expected = brute_force(identities, genuine)
    assert {frozenset(pair) for pair in pairs.tolist()} == expected
    assert len(pairs) == len(expected) == protocol.count_pairs(np.array(identities, np.int64))[not genuine]


@given(st.lists(st.integers(0, 5), min_size=6, max_size=14), st.booleans(), st.integers(1, 20))
def test_sampled_pairs_are_different_and_of_the_right_kind(identities: list[int], genuine: bool, limit: int) -> None:
    pairs = {frozenset(pair) for pair in protocol.sample_pairs(np.array(identities, np.int64), genuine, limit, rng()).tolist()}
    assert pairs <= brute_force(identities, genuine)
    assert len(pairs) == min(limit, len(brute_force(identities, genuine)))


def test_sampling_is_even() -> None:
    identities = np.repeat(np.arange(4), [2, 3, 4, 5])
    counts: dict[tuple[int, int], int] = {}
    for seed in range(400):
        for first, second in protocol.sample_pairs(identities, False, 10, rng(seed)).tolist():
            counts[first, second] = counts.get((first, second), 0) + 1
    # 71 impostor pairs, each drawn with probability 10/71: expected 56.3 of 400 times, standard deviation 7
    assert len(counts) == 71
    assert min(counts.values()) > 25
    assert max(counts.values()) < 90


def test_pairs_of_large_data_cost_only_what_is_drawn() -> None:
    identities = np.repeat(np.arange(20_000), 10)  # 2e10 impostor pairs
    pairs = protocol.sample_pairs(identities, False, 1000, rng())
    assert pairs.shape == (1000, 2)
    assert (identities[pairs[:, 0]] != identities[pairs[:, 1]]).all()


def test_similarities_are_cosines() -> None:
    units = protocol.comparable(np.array([[3, 4], [8, 6], [0, -2]]), "cosine")
    assert protocol.similarities(units, np.array([[0, 1], [0, 2]])).tolist() == pytest.approx([0.96, -0.8])
    assert protocol.similarities(units, np.empty((0, 2), np.int64)).shape == (0,)


def test_similarities_do_not_depend_on_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    units = protocol.comparable(rng().normal(size=(30, 8)), "cosine")
    pairs = protocol.sample_pairs(np.arange(30) // 3, False, 500, rng())
    whole = protocol.similarities(units, pairs)
    monkeypatch.setattr(protocol, "_CHUNK", 7)
    assert (protocol.similarities(units, pairs) == whole).all()


def test_folds_share_out_people_evenly_and_give_every_fold_a_genuine_pair() -> None:
    pictures = np.array([1] * 30 + [5] * 10)  # most people have only one image
    folds = protocol.deal_folds(pictures, 10, rng())
    assert np.bincount(folds).tolist() == [4] * 10
    assert np.bincount(folds[pictures > 1]).tolist() == [1] * 10
    assert (folds != protocol.deal_folds(pictures, 10, rng(1))).any()


@pytest.mark.parametrize(
    ("pictures", "count"),
    [([10] * 8, 8), ([10] * 16, 10), ([10] * 500, 10), ([2, 2], 2), ([9, 1, 1, 1], 1), ([1, 1], 0), ([9], 1), ([], 0)],
)
def test_there_are_as_many_folds_as_people_allow(pictures: list[int], count: int) -> None:
    folds = protocol.deal_folds(np.array(pictures, np.int64), 10, rng())
    assert folds.max(initial=-1) + 1 == count
    assert set(folds.tolist()) == (set(range(count)) if count else {-1} & set(folds.tolist()))


def test_pairs_across_show_one_person_of_the_fold_and_another_one() -> None:
    identities = np.repeat(np.arange(6), 4)
    own, shown = np.flatnonzero(identities < 2), np.flatnonzero(identities < 5)
    pairs = protocol.sample_across(identities, own, shown, 10_000, rng())
    # 4 × 4 pairs between the fold's two people, and 8 × 12 between their images and those of the three others
    assert len({tuple(sorted(pair)) for pair in pairs.tolist()}) == len(pairs) == 16 + 96
    assert (identities[pairs[:, 0]] != identities[pairs[:, 1]]).all()
    assert np.isin(pairs[:, 0], own).all()
    assert np.isin(pairs, shown).all()
    some = protocol.sample_across(identities, own, shown, 56, rng())
    assert len({tuple(sorted(pair)) for pair in some.tolist()}) == 56
    assert 2 <= np.isin(some, own).all(1).sum() <= 16  # 8 of the 16 are expected


@given(st.lists(st.integers(0, 9), min_size=1, max_size=8), st.lists(st.integers(0, 9), min_size=1, max_size=8))
def test_no_threshold_is_better_than_the_best(genuine: list[int], impostor: list[int]) -> None:
    def right(threshold: float) -> int:
        return sum(score >= threshold for score in genuine) + sum(score < threshold for score in impostor)

    best = protocol.best_threshold(np.array(genuine, float), np.array(impostor, float))
    assert right(best) == max(right(threshold) for threshold in np.arange(-1, 12, 0.5))


def test_the_threshold_stands_half_way() -> None:
    assert protocol.best_threshold(np.array([0.6, 0.9]), np.array([0.1, 0.4])) == pytest.approx(0.5)


def test_folds_are_decided_with_the_threshold_of_the_others() -> None:
    genuine = [np.array([0.9, 0.8]), np.array([0.5, 0.4])]
    impostor = [np.array([0.6, 0.7]), np.array([0.1, 0.2])]
    accuracy, threshold = protocol.folded_accuracy(genuine, impostor)
    assert threshold.tolist() == pytest.approx([0.3, 0.75])  # each fold's best threshold is used for the other fold
    assert accuracy.tolist() == [0.5, 0.5]


def scores_with_ties(seed: int) -> tuple[Floats, Floats]:
    random = rng(seed)
    return random.normal(0.5, 1, 300).round(1), random.normal(0, 1, 700).round(1)


@pytest.mark.parametrize("seed", range(5))
def test_the_roc_is_that_of_scikit_learn(seed: int) -> None:
    genuine, impostor = scores_with_ties(seed)
    labels, scores = np.repeat([1, 0], [300, 700]), np.concatenate([genuine, impostor])
    roc = Roc.of(genuine, impostor)
    far, tar, _ = roc_curve(labels, scores, drop_intermediate=False)
    np.testing.assert_allclose(roc.far, far, atol=1e-12)
    np.testing.assert_allclose(roc.tar, tar, atol=1e-12)
    assert roc.auc == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    # where false accept and false reject rates cross, on the same piecewise linear curve
    fine = np.linspace(0, 1, 200_001)
    crossing = np.argmin(
        np.abs(1 - np.interp(fine, np.arange(len(far)) / (len(far) - 1), tar) - np.interp(fine, np.arange(len(far)) / (len(far) - 1), far))
    )
    assert roc.eer == pytest.approx(float(np.interp(fine[crossing], np.arange(len(far)) / (len(far) - 1), far)), abs=1e-4)
    assert roc.tar_at(0.05) == max(t for f, t in zip(far, tar, strict=True) if f <= 0.05)


def test_the_curve_of_perfect_and_of_equal_scores() -> None:
    perfect = Roc.of(np.array([0.9, 0.8]), np.full(20_000, 0.1))
    assert (perfect.auc, perfect.eer, perfect.tar_at(1e-3)) == (1.0, 0.0, 1.0)
    equal = Roc.of(np.full(5, 0.3), np.full(20_000, 0.3))
    assert (equal.auc, equal.eer, equal.tar_at(1e-3)) == (0.5, 0.5, 0.0)


def test_a_rate_that_rests_on_too_few_impostors_is_none() -> None:
    assert Roc.of(np.ones(3), np.zeros(9_999)).tar_at(1e-3) is None
    assert Roc.of(np.ones(3), np.zeros(10_000)).tar_at(1e-3) == 1.0


def test_rank1_by_hand() -> None:
    angles = np.radians([0, 90, 10, 80, 60, 45.1])
    units = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    identities = np.array([0, 1, 0, 1, 0, 0])  # enrolled: 0° and 90°; the probes at 60° and 45.1° are taken for the other person
    assert closed_set(units, identities).rate(1) == 0.5


def test_people_with_one_picture_are_gallery_only() -> None:
    units = np.eye(2)[[0, 0, 1]]
    assert closed_set(units, np.array([0, 0, 1])).rate(1) == 1.0
    assert closed_set(units, np.array([0, 1, 1])).rate(1) == 0.0


@pytest.mark.parametrize("identities", [[], [0], [0, 0, 0], [0, 1, 2]])
def test_rank1_without_probes_or_a_choice_is_none(identities: list[int]) -> None:
    assert closed_set(np.ones((len(identities), 2)), np.array(identities, np.int64)).rate(1) is None
