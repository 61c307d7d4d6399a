"""Rank-k, open-set rates, TAR support and the bootstrap over identities, checked against independent computations."""

from __future__ import annotations

import numpy as np
import pytest

from zoo.evaluation.intervals import draws
from zoo.tasks.face.verification import protocol as verification
from zoo.tasks.face.verification.bootstrap import Pairs, face_replicates
from zoo.tasks.face.verification.identification import closed_set, open_set
from zoo.tasks.face.verification.pairs import Pair, PairsMetric
from zoo.tasks.face.verification.protocol import Floats, Ints, Score
from zoo.tasks.face.verification.roc import OrderedPairs, Roc, roc_scores, unsupported


def people(count: int, pictures: int, spread: float, seed: int = 0) -> tuple[Floats, Ints]:
    rng = np.random.default_rng(seed)
    identities = np.repeat(np.arange(count), pictures)
    return rng.normal(size=(count, 16))[identities] + spread * rng.normal(size=(count * pictures, 16)), identities


@pytest.mark.parametrize("score", ["cosine", "euclidean"])
def test_ranks_equal_a_plain_search(score: Score) -> None:
    raw, identities = people(30, 4, 2.0)
    rows = verification.comparable(raw, score)
    found = closed_set(rows, identities, score)
    gallery = [int(np.flatnonzero(identities == person)[0]) for person in range(30)]
    probes = [place for place in range(len(identities)) if place not in gallery]
    expected = []
    for probe in probes:
        alike = verification.similarities(rows, np.array([(probe, place) for place in gallery]), score)
        expected.append(int((np.argsort(-alike, kind="stable") == identities[probe]).argmax()))
    assert found.ranks.tolist() == expected
    for rank in (1, 5, 10):
        assert found.rate(rank) == pytest.approx(np.mean(np.array(expected) < rank))
    assert found.curve(30)[-1] == 1.0


def test_a_rank_that_is_certain_is_no_score() -> None:
    rows, identities = people(5, 3, 0.1)
    found = closed_set(rows, identities)
    assert found.rate(1) == 1.0
    assert found.rate(5) is None


def test_the_euclidean_distance_is_of_the_embeddings_as_they_are() -> None:
    rows = verification.comparable(np.array([[3.0, 0], [0, 4], [6, 0]]), "euclidean")
    assert verification.similarities(rows, np.array([[0, 1], [0, 2]]), "euclidean").tolist() == [-5.0, -3.0]
    assert verification.all_similarities(rows[:1], rows[1:], "euclidean").tolist() == [[-5.0, -3.0]]


def test_open_set_rates_by_hand() -> None:
    """The strangers' best similarities give the threshold, and missed probes are counted at it."""
    raw, identities = people(60, 6, 1.0)
    rows = verification.comparable(raw, "cosine")
    rates, counts = open_set(rows, identities)
    assert counts == {"enrolled": 30, "mated_probes": 150, "non_mated_probes": 180}
    assert rates["fnir@1e-2"] is None  # 180 probes of strangers; a hundredth of them is less than ten
    chosen = np.sort(np.random.default_rng(0).permutation(np.arange(60))[:30])
    gallery = rows[chosen * 6]
    strangers = np.sort((rows[~np.isin(identities, chosen)] @ gallery.T).max(1))[::-1]
    threshold = strangers[18]  # 18 of 180 are above it
    assert (strangers > threshold).mean() == pytest.approx(0.1)
    missed = 0
    for person in chosen:
        for probe in rows[person * 6 + 1 : person * 6 + 6]:
            alike = gallery @ probe
            missed += not (chosen[alike.argmax()] == person and alike.max() > threshold)
    assert rates["fnir@1e-1"] == pytest.approx(missed / 150)


def test_rates_without_support_are_said_to_be_unsupported() -> None:
    scores = roc_scores(np.ones(10), np.zeros(2_000))
    assert (scores["tar@1e-2"], scores["tar@1e-3"]) == (1.0, None)
    assert unsupported(2_000)["tar@1e-3"] == "not supported: needs 10000 impostor pairs, there are 2000"
    assert "tar@1e-2" not in unsupported(2_000)


def test_a_weighted_curve_is_the_curve_of_repeated_pairs() -> None:
    rng = np.random.default_rng(0)
    scores, genuine, times = rng.integers(8, size=60) / 8, rng.random(60) < 0.4, rng.integers(4, size=60)
    weighted = Roc.weighted(OrderedPairs.of(scores, genuine), times[OrderedPairs.of(scores, genuine).order].astype(float))
    repeated = Roc.of(np.repeat(scores[genuine], times[genuine]), np.repeat(scores[~genuine], times[~genuine]))
    assert weighted is not None
    assert weighted.auc == pytest.approx(repeated.auc)
    assert weighted.eer == pytest.approx(repeated.eer)


def test_pairs_count_as_often_as_their_people_were_drawn() -> None:
    pairs = Pairs(np.zeros(3), np.array([True, False, False]), np.array([0, 0, 1]), np.array([0, 1, 2]))
    assert pairs.weights(np.array([2, 3, 0], np.int32)).tolist() == [2, 6, 0]


def test_replicates_are_centred_on_the_scores() -> None:
    rows, identities = people(40, 5, 2.5)
    rng = np.random.default_rng(0)
    kinds = [verification.sample_pairs(identities, same, 5_000, rng) for same in (True, False)]
    both = np.concatenate(kinds)
    similar = verification.similarities(verification.comparable(rows, "cosine"), both)
    pairs = Pairs(similar, np.arange(len(both)) < len(kinds[0]), identities[both[:, 0]], identities[both[:, 1]])
    drawn = face_replicates(40, 200, pairs, None, None, closed_set(rows, identities))
    scores = roc_scores(similar[: len(kinds[0])], similar[len(kinds[0]) :])
    assert drawn["auc"].mean() == pytest.approx(scores["auc"], abs=0.01)
    assert 0 < drawn["auc"].std() < 0.05
    assert drawn["rank1"].mean() == pytest.approx(closed_set(rows, identities).rate(1), abs=0.02)
    first = next(draws(40, 200))[0]
    ordered = OrderedPairs.of(similar, pairs.genuine)
    again = Roc.weighted(ordered, pairs.weights(first)[ordered.order])
    assert again is not None
    assert drawn["eer"][0] == again.eer  # with few pairs, the AUC replicates are computed jointly (test_interval_coverage.py)
    assert drawn["auc"][0] == pytest.approx(again.auc, abs=2e-3)


def protocol(embeddings: dict[str, list[float]]) -> PairsMetric:
    pairs = [Pair(f"{fold}{kind}1", f"{fold}{kind}2", kind == "s", fold) for fold in range(4) for kind in "sd"]
    metric = PairsMetric((), pairs)
    metric.update([np.array(row, np.float32) for row in embeddings.values()], [None] * len(embeddings), list(embeddings))
    return metric


def test_a_face_that_was_not_found_counts_as_an_error_over_the_whole_protocol() -> None:
    rows = {
        f"{fold}{kind}{side}": [1.0, 0.0] if kind == "s" or side == 1 else [0.0, 1.0]
        for fold in range(4)
        for kind in "sd"
        for side in (1, 2)
    }
    whole = protocol(rows).compute()
    assert (whole.scores["accuracy"], whole.scores["accuracy_all"]) == (1.0, 1.0)
    del rows["2s1"]
    part = protocol(rows).compute(50)
    assert part.scores["accuracy"] == 1.0  # over the pairs that could be scored
    assert part.scores["accuracy_all"] == pytest.approx(7 / 8)
    assert part.details["pairs"]["missing"] == 1
    assert part.details["bootstrap"] == {"over": "pairs", "replicates": 50}


def test_the_worst_pairs_are_named() -> None:
    rows = {
        f"{fold}{kind}{side}": [1.0, 0.0] if kind == "s" or side == 1 else [0.0, 1.0]
        for fold in range(4)
        for kind in "sd"
        for side in (1, 2)
    }
    rows["3d2"] = [1.0, 0.01]  # two people who look the same
    (worst, *_) = protocol(rows).compute().mistakes
    assert worst.keys == ("3d1", "3d2")
    assert worst.text.startswith("two people, taken for one person: similarity 1.000")
