"""Face scores: chance and perfect embeddings, independence of order, batches and scale, and scores on little data."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from zoo.errors import InputError
from zoo.task.metric import MetricResult
from zoo.tasks.face.verification import metric as metrics
from zoo.tasks.face.verification import protocol
from zoo.tasks.face.verification.metric import VerificationMetric
from zoo.tasks.face.verification.pairs import PairsMetric

Rows = NDArray[np.float32]


def sample(people: int, pictures: int, spread: float, seed: int = 0) -> tuple[Rows, list[int], list[str]]:
    """Return embeddings around one random direction per person, with identities and keys."""
    random = np.random.default_rng(seed)
    identities = np.repeat(np.arange(people), pictures)
    rows = random.normal(size=(people, 32))[identities] + spread * random.normal(size=(len(identities), 32))
    return rows.astype(np.float32), identities.tolist(), [f"p{person}/{index}" for index, person in enumerate(identities)]


def score(rows: Rows, targets: list[int], keys: list[str], batch: int = 64) -> MetricResult:
    metric = VerificationMetric(tuple(f"p{index}" for index in range(max(targets, default=0) + 1)))
    for start in range(0, len(rows), batch):
        stop = start + batch
        metric.update(list(rows[start:stop]), targets[start:stop], keys[start:stop])
    return metric.compute()


def test_random_embeddings_score_chance() -> None:
    rows, targets, keys = sample(60, 12, spread=0)
    rows = np.random.default_rng(1).normal(size=rows.shape).astype(np.float32)
    scores = score(rows, targets, keys).scores
    assert scores["accuracy"] == pytest.approx(0.5, abs=0.02)
    assert scores["auc"] == pytest.approx(0.5, abs=0.02)
    assert scores["eer"] == pytest.approx(0.5, abs=0.02)
    assert scores["tar@1e-2"] == pytest.approx(0.01, abs=0.006)
    assert scores["rank1"] == pytest.approx(1 / 60, abs=0.02)


def test_the_same_answer_for_everybody_is_chance_too() -> None:
    _, targets, keys = sample(20, 10, spread=0)
    scores = score(np.ones((200, 8), np.float32), targets, keys).scores
    assert (scores["accuracy"], scores["auc"], scores["eer"], scores["tar@1e-3"]) == (0.5, 0.5, 0.5, 0.0)
    assert scores["rank1"] == pytest.approx(1 / 20)


def test_perfect_embeddings_score_one() -> None:
    result = score(*sample(20, 12, spread=0.01))
    best = {"accuracy": 1.0, "accuracy_std": 0.0, "accuracy_all": 1.0, "auc": 1.0, "eer": 0.0, "tar@1e-2": 1.0, "tar@1e-3": 1.0}
    best |= {"rank1": 1.0, "rank5": 1.0, "rank10": 1.0, "fnir@1e-1": 0.0}
    assert {name: value for name, value in result.scores.items() if value is not None} == best
    assert result.details["folds"] == 10
    assert "note" not in result.details
    assert -0.5 < result.details["threshold"] < 1


def test_neither_order_nor_batches_nor_lengths_change_anything() -> None:
    rows, targets, keys = sample(20, 8, spread=1.5)
    expected = score(rows, targets, keys)
    assert 0.6 < (expected.scores["accuracy"] or 0) < 0.99  # neither chance nor perfect, so that it could change
    order = np.random.default_rng(5).permutation(len(rows))
    shuffled = score(rows[order], [targets[i] for i in order], [keys[i] for i in order], batch=7)
    assert shuffled == expected
    lengths = np.random.default_rng(6).uniform(0.01, 100, (len(rows), 1)).astype(np.float32)
    for name, value in score(rows * lengths, targets, keys).scores.items():
        assert value == pytest.approx(expected.scores[name], abs=1e-9)


def test_states_of_several_processes_merge_into_the_whole() -> None:
    rows, targets, keys = sample(8, 5, spread=1)
    expected = score(rows, targets, keys)
    parts = []
    for rank in range(3):
        part = VerificationMetric(tuple(f"p{index}" for index in range(8)))
        part.update(list(rows[rank::3]), targets[rank::3], keys[rank::3])
        parts.append(part)
    states = [part.state() for part in parts]
    parts[1].merge(states[::-1])
    assert parts[1].compute() == expected


def test_accuracy_and_its_standard_error_come_from_the_folds() -> None:
    result = score(*sample(20, 8, spread=1.5))
    folds = result.details["per_fold"]
    accuracies = np.array([fold["accuracy"] for fold in folds]).reshape(10, 10)  # repeats of the split into folds, folds
    assert {fold["genuine"] for fold in folds} == {fold["impostor"] for fold in folds} == {2 * 28}
    assert len({tuple(row) for row in accuracies.tolist()}) > 1  # each repeat splits the people differently
    assert result.details["accuracy_per_dealing"] == pytest.approx(accuracies.mean(1).tolist())
    assert result.scores["accuracy"] == pytest.approx(accuracies.mean())
    # ten splits of the same people are no more evidence than one: the error is not divided by their number
    assert result.scores["accuracy_std"] == pytest.approx(np.mean(np.std(accuracies, axis=1, ddof=1) / np.sqrt(10)))
    assert result.details["threshold"] == pytest.approx(np.mean([fold["threshold"] for fold in folds]))
    assert result.details["pairs"] == {"genuine": 560, "impostor": 12160, "genuine_scored": 560, "impostor_scored": 12160}


def test_fewer_folds_are_said() -> None:
    details = score(*sample(8, 10, spread=1)).details
    assert details["folds"] == 8
    assert details["note"].startswith("8 folds instead of 10")
    json.dumps(details)  # JSON-ready


def test_too_many_pairs_are_sampled_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    everything = score(*sample(30, 10, spread=1.5))
    monkeypatch.setattr(metrics, "MAX_PAIRS", 1000)
    monkeypatch.setattr(metrics, "MAX_FOLD_PAIRS", 50)
    result = score(*sample(30, 10, spread=1.5))
    assert result.details["pairs"] == {"genuine": 1350, "impostor": 43500, "genuine_scored": 1000, "impostor_scored": 1000}
    assert {fold["genuine"] for fold in result.details["per_fold"]} == {50}
    assert result.scores["tar@1e-3"] is None
    assert result.scores["auc"] == pytest.approx(everything.scores["auc"], abs=0.03)
    assert result == score(*sample(30, 10, spread=1.5))


@pytest.mark.parametrize(
    ("people", "pictures", "known"),
    [
        (0, 1, set()),
        (1, 6, set()),  # one person: no impostor pair
        (8, 1, set()),  # no genuine pair
        (3, 4, {"auc", "eer", "rank1"}),  # no people left to choose a threshold on
        (4, 4, {"accuracy", "accuracy_std", "accuracy_all", "auc", "eer", "rank1"}),  # too few impostor pairs for TAR@FAR
    ],
)
def test_scores_without_support_are_none(people: int, pictures: int, known: set[str]) -> None:
    result = score(*sample(people, pictures, spread=0.1))
    tar = {f"tar@1e-{digits}" for digits in range(2, 7)}
    ranks = {"rank1", "rank5", "rank10", "fnir@1e-1", "fnir@1e-2"}
    assert set(result.scores) == {"accuracy", "accuracy_std", "accuracy_all", "auc", "eer", *tar, *ranks}
    assert {name for name, value in result.scores.items() if value is not None} == known
    if "accuracy" not in known:
        assert "four people" in result.details["note"]


def test_nobody_who_is_scored_was_seen_when_the_threshold_was_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[set[int], set[int]]] = []
    within, across = protocol.sample_pairs, protocol.sample_across
    shown: set[int] = set()

    def record_across(identities: Any, own: Any, beside: Any, limit: int, generator: Any) -> Any:
        pairs = across(identities, own, beside, limit, generator)
        shown.clear()
        shown.update(identities[pairs.ravel()].tolist(), identities[own].tolist())
        return pairs

    def record_within(identities: Any, genuine: bool, limit: int, generator: Any) -> Any:
        pairs = within(identities, genuine, limit, generator)
        if shown and not genuine:
            seen.append((set(shown), set(identities[pairs.ravel()].tolist())))
            shown.clear()
        return pairs

    monkeypatch.setattr(protocol, "sample_across", record_across)
    monkeypatch.setattr(protocol, "sample_pairs", record_within)
    score(*sample(16, 6, spread=1))
    assert len(seen) == 10 * metrics.DEALINGS
    assert all(scored.isdisjoint(tuned) for scored, tuned in seen)


def test_targets_may_be_names() -> None:
    rows, targets, keys = sample(4, 4, spread=0.1)
    metric = VerificationMetric(())
    metric.update(list(rows), [f"person {target}" for target in targets], keys)
    assert metric.compute().scores == score(rows, targets, keys).scores


@pytest.mark.parametrize(
    ("answer", "target", "message"),
    [
        (np.ones(2), None, "a/1.jpg has no identity"),
        (np.array([1.0, np.nan]), 0, "a/1.jpg: its embedding is not finite; the model's weights may be damaged"),
        (np.zeros(2), 0, "a/1.jpg: all 2 values in its embedding are 0, so its cosine distance is undefined"),
        (np.ones(3), 0, "a/1.jpg: its embedding has 3 values, but the embedding of a/0.jpg has 2; expected the same length"),
        (np.ones((1, 2)), 0, r"a/1.jpg: its embedding has the shape \[1, 2\]"),
        (np.ones(0), 0, r"a/1.jpg: its embedding has the shape \[0\]"),
    ],
)
@pytest.mark.parametrize("score_", ["cosine", "euclidean"])
def test_what_can_not_be_scored_is_named(answer: Any, target: Any, message: str, score_: protocol.Score) -> None:
    for metric in (VerificationMetric(("a",), score_), PairsMetric(("a",), [], score_)):
        metric.update([np.ones(2)], [0], ["a/0.jpg"])
        if target is None and isinstance(metric, PairsMetric):  # the pairs of a protocol don't need identities
            continue
        with pytest.raises(InputError, match=message):
            metric.update([answer], [target], ["a/1.jpg"])
