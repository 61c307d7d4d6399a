"""PGD attacks on face verification: choice of pairs and probes, thresholds, and the effect on scores."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import zoo
from tests.pictures import cut_short, picture, write_picture
from zoo.data.dataset import Dataset, Record
from zoo.errors import DataError, ImageError, InputError
from zoo.evaluation.robustness.attacked import attack_evaluate
from zoo.task.contract import get_task
from zoo.tasks.face.verification.attack import AttackPairs, PairAttack, choose_pairs, score_pairs
from zoo.tasks.face.verification.bootstrap import Pairs
from zoo.tasks.face.verification.pairs import Pair, PairedDataset

pytest.importorskip("captum", reason="needs captum, the extra robustness")
pytestmark = pytest.mark.usefixtures("one_thread")


def people(count: int, pictures: int) -> Dataset:
    """Return a dataset of `count` people in which no two images are alike."""
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 200, (count, 3))
    records = [
        Record(f"{person}/{number}", picture((int(r), int(g), int(b)), 100 * person + number), person)
        for person, (r, g, b) in enumerate(colours)
        for number in range(pictures)
    ]
    return Dataset("people", tuple(records), tuple(str(person) for person in range(count)))


def paired(dataset: Dataset, folds: int = 2) -> PairedDataset:
    """Return the dataset with genuine and impostor pairs in each fold; genuine pairs list the second image first."""
    keys = dataset.keys
    pairs = [Pair(keys[4 * n + 1], keys[4 * n], True, n % folds) for n in range(len(keys) // 4)]
    pairs += [Pair(keys[4 * n + 2], keys[(4 * n + 5) % len(keys)], False, n % folds) for n in range(len(keys) // 4)]
    return PairedDataset.of(dataset, pairs, keys)


@pytest.fixture(scope="module")
def embedder() -> zoo.Model:
    torch.manual_seed(0)
    return zoo.build("resnet20", task="face", image_size=32, embedding_size=16).eval()


def test_pairs_are_balanced_different_and_of_the_right_kind() -> None:
    data = people(8, 4)
    pairs = choose_pairs(data, 20, 0)
    targets = np.array([record.target for record in data.records])[pairs.places]
    assert np.array_equal(targets[:, 0] == targets[:, 1], pairs.same)
    assert pairs.same.sum() == (~pairs.same).sum() == 20
    assert len({frozenset(pair) for pair in pairs.places.tolist()}) == 40
    assert (pairs.places[:, 0] < pairs.places[:, 1]).any()  # either image of a pair may be the probe
    assert (pairs.places[:, 0] > pairs.places[:, 1]).any()
    again, other = choose_pairs(data, 20, 0), choose_pairs(data, 20, 1)
    assert np.array_equal(pairs.places, again.places)
    assert not np.array_equal(pairs.places, other.places)
    assert len(choose_pairs(data, 10_000, 0)) == 2 * 8 * 6  # as many impostor as genuine pairs


def test_pairs_of_the_data_keep_their_order_and_folds() -> None:
    data = paired(people(8, 4))
    pairs = choose_pairs(data, 100, 0)
    assert [(data.keys[probe], data.keys[gallery]) for probe, gallery in pairs.places] == [(pair.first, pair.second) for pair in data.pairs]
    assert pairs.folds[:, 0].tolist() == pairs.folds[:, 1].tolist() == [pair.fold for pair in data.pairs]
    assert len(choose_pairs(data, 3, 0)) == 6


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (people(1, 4), "has 6 genuine and 0 impostor pairs; expected at least one of each"),
        (people(4, 1), "has 0 genuine and 6 impostor pairs"),
        (replace(people(4, 2), records=(Record("x", picture((1, 2, 3)), None),)), "x has no identity; an attack needs"),
    ],
)
def test_data_that_cannot_be_attacked(data: Dataset, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        choose_pairs(data, 500, 0)


def test_thresholds_come_from_pairs_of_other_people() -> None:
    """A fold's own pairs would change its threshold, and must have no influence on it."""
    places = np.arange(16).reshape(-1, 2)
    same = np.array([True, False] * 4)
    folds = np.repeat([[0, 0], [1, 1], [2, 2], [0, 1]], 2, axis=0)
    similar = np.array([0.1, 0.0, 0.9, 0.3, 0.8, 0.4, 0.7, 0.2])
    found = AttackPairs(places, same, folds).thresholds(similar)
    assert found is not None
    assert found[0] == pytest.approx(0.6)  # fold 0: between 0.4 and 0.8
    assert found[2] == pytest.approx(0.05)  # fold 1: 0.1 and 0.8 against 0.0 and 0.4, the lowest of the best
    assert found[6] == pytest.approx(0.6)  # the folds of both people are excluded: 0.8 against 0.4
    assert AttackPairs(places[:2], same[:2], folds[:2]).thresholds(similar[:2]) is None


def test_scores_are_worked_out_by_hand() -> None:
    first, second = np.array([0, 1, 2, 0, 1, 2]), np.array([0, 1, 2, 1, 2, 0])
    pairs = Pairs(np.array([0.9, 0.2, 0.8, 0.1, 0.6, 0.7]), first == second, first, second)
    scores, drawn = score_pairs(pairs, np.full(6, 0.5), 3, 200)
    assert scores["true_accept_rate"] == pytest.approx(2 / 3)
    assert scores["false_accept_rate"] == pytest.approx(2 / 3)
    assert scores["accuracy"] == pytest.approx(0.5)
    assert scores["auc"] == pytest.approx((3 + 1 + 3) / 9)
    assert set(drawn) == set(scores)
    assert all(values.shape == (200,) for values in drawn.values())
    assert np.isnan(drawn["false_accept_rate"]).any()  # one person drawn three times leaves no impostor pair
    assert score_pairs(pairs, np.full(6, 0.5), 3, 0)[1] == {}
    undecided = score_pairs(pairs, None, 3, 10)
    assert undecided[0]["accuracy"] is None
    assert set(undecided[1]) == {"auc", "eer"}


@pytest.mark.parametrize("score", ["cosine", "euclidean"])
def test_the_loss_dodges_and_impersonates(score: Any) -> None:
    data = people(4, 4)
    protocol = PairAttack(data, 4, 0, score)
    rng = np.random.default_rng(0)
    answers = {record.key: rng.normal(size=8).astype(np.float32) for record in data.records}
    probes = protocol.attacked(answers)
    assert len(probes) == 8
    for record in probes.records:
        probe, gallery = record.key.split(" → ")
        assert np.array_equal(record.picture(zoo.images.decoding.Decoding())[0], data[data.keys.index(probe)].image)
        first, second = answers[probe].astype(float), answers[gallery].astype(float)
        cosine = first @ second / np.linalg.norm(first) / np.linalg.norm(second)
        similar = cosine if score == "cosine" else -np.linalg.norm(first - second)
        expected = -similar if probe[0] == gallery[0] else similar
        assert protocol.loss(torch.from_numpy(answers[probe][None]), [record.target]).item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.slow
def test_an_attack_turns_decisions_that_none_leaves_alone(embedder: zoo.Model, shared_data: Path) -> None:
    data = f"identities:{shared_data / 'orl' / 'test'}"
    options: dict[str, Any] = {"pairs": 40, "replicates": 100, "workers": 0}
    none, strong = (attack_evaluate(embedder, data, eps=eps, steps=8, **options) for eps in (0.0, 8 / 255))
    assert none["clean"]["scores"] == none["robust"]["scores"] == strong["clean"]["scores"]
    assert none["clean"]["intervals"] == none["robust"]["intervals"]
    clean, robust = strong["clean"]["scores"], strong["robust"]["scores"]
    assert clean["accuracy"] > 0.65
    assert clean["auc"] > 0.75
    assert robust["accuracy"] < 0.2
    assert robust["auc"] < 0.1
    assert robust["true_accept_rate"] < 0.2  # dodging
    assert robust["false_accept_rate"] > max(0.5, clean["false_accept_rate"] + 0.2)  # impersonation
    assert robust["accuracy"] == pytest.approx((robust["true_accept_rate"] + 1 - robust["false_accept_rate"]) / 2)
    low, high = strong["robust"]["intervals"]["accuracy"]
    assert low <= robust["accuracy"] <= high < strong["clean"]["intervals"]["accuracy"][0]
    details = strong["robust"]["details"]
    assert details["pairs"] == {"genuine": 40, "impostor": 40, "missing": 0}
    assert details["threshold"] == strong["clean"]["details"]["threshold"]
    assert details["bootstrap"] == {"over": "identities", "replicates": 100}
    assert strong["score"] == "accuracy"


def test_scores_depend_on_neither_batches_nor_workers(embedder: zoo.Model) -> None:
    data = people(6, 3)
    first, second = (
        attack_evaluate(embedder, data, steps=2, eps=1 / 255, pairs=8, replicates=0, batch_size=size, workers=workers)
        for size, workers in ((16, 0), (3, 2))
    )
    for kind in ("clean", "robust"):
        for name, value in first[kind]["scores"].items():
            assert second[kind]["scores"][name] == pytest.approx(value, abs=1 / 16 + 1e-9)  # rounding may flip one pair


def test_pairs_of_the_data_are_attacked_without_knowing_people(embedder: zoo.Model) -> None:
    data = paired(people(8, 4)).with_targets(lambda _: None, ())
    found = attack_evaluate(embedder, data, steps=2, replicates=20, workers=0)
    assert found["robust"]["details"]["pairs"] == {"genuine": 8, "impostor": 8, "missing": 0}
    assert found["robust"]["details"]["bootstrap"]["over"] == "pairs"
    assert found["clean"]["n"] == found["clean"]["expected"] == 24
    alone = attack_evaluate(embedder, paired(people(8, 4), folds=1), steps=1, replicates=20, workers=0)
    assert alone["robust"]["scores"]["accuracy"] is None
    assert "too few people or folds" in alone["robust"]["details"]["note"]
    assert alone["robust"]["scores"]["auc"] is not None


def test_damaged_pictures_are_told_or_their_pairs_counted(embedder: zoo.Model, tmp_path: Path) -> None:
    for record, sample in zip(people(6, 3).records, people(6, 3), strict=True):
        write_picture(tmp_path / f"{record.key}.png", sample.image)
    cut_short(tmp_path / "0" / "0.png")
    data = f"identities:{tmp_path}"
    with pytest.raises(ImageError, match=r"0.0\.png"):
        attack_evaluate(embedder, data, steps=1, workers=0)
    found = attack_evaluate(embedder, data, steps=1, workers=0, on_error="skip", replicates=0)["robust"]
    pairs = choose_pairs(get_task("face").open(data), 500, 0)
    assert found["details"]["pairs"]["missing"] == int((pairs.places == 0).any(1).sum()) > 0
    assert (found["n"], found["expected"], len(found["skipped"])) == (17, 18, 1)
    for path in set(tmp_path.glob("*/*.png")) - {tmp_path / "0" / "0.png", tmp_path / "1" / "0.png"}:
        cut_short(path)
    with pytest.raises(DataError, match="none of the 36 pairs has two readable images"):
        attack_evaluate(embedder, data, steps=1, workers=0, on_error="skip")


def test_embeddings_without_a_direction_are_named() -> None:
    data = Dataset("faces", tuple(Record(f"{person}/{n}", np.zeros((8, 8, 3), np.uint8), person) for person in range(2) for n in range(2)))
    protocol = get_task("face").attack_protocol(data, (), 5, 0, score="cosine")
    answers = {record.key: np.ones(4, np.float32) for record in data.records}
    with pytest.raises(InputError, match="0/0: all 4 values in its embedding are 0"):
        protocol.attacked(answers | {"0/0": np.zeros(4, np.float32)})
    pairs = protocol.attacked(answers)
    with pytest.raises(InputError, match="its embedding is not finite"):
        protocol.score({record.key: np.full(4, np.nan, np.float32) for record in pairs.records}, 0)
