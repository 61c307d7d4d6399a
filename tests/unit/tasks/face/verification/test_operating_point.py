"""Operating points of face models: pairs and probes by hand, and the verbs that use the thresholds."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import zoo
from zoo.errors import InputError
from zoo.evaluation.operating import ClassPoint, Target, choose
from zoo.tasks.face.embedding.distances import decide, distances
from zoo.tasks.face.verification.metric import VerificationMetric
from zoo.tasks.face.verification.pairs import Pair, PairsMetric
from zoo.tasks.face.verification.protocol import Score


def at(*degrees: float) -> list[Any]:
    """Return unit vectors; the cosine distance between two of them is 1 − cos of the angle between them."""
    return [np.array([np.cos(np.radians(angle)), np.sin(np.radians(angle))], np.float32) for angle in degrees]


def people(score: Score = "cosine") -> VerificationMetric:
    """Five people: a at 0 and 5 degrees, b at 40 and 50, c at 90 and 95, d at 140 and 170, e at 185 and 190."""
    metric = VerificationMetric((), score)
    angles = {"a": (0.0, 5.0), "b": (40.0, 50.0), "c": (90.0, 95.0), "d": (140.0, 170.0), "e": (185.0, 190.0)}
    for name, own in angles.items():
        metric.update(at(*own), [name] * 2, [f"{name}{place}" for place in range(2)])
    return metric


def test_a_threshold_of_verification_accepts_what_lies_below_the_undecided_band() -> None:
    found = people().decisions()["verification"]
    assert (found.positives, len(found.score), found.units) == (5, 45, 5)
    point = choose(found, Target.parse("precision=1"), 50)
    assert isinstance(point, ClassPoint)
    # four of five people have photos within 10 degrees; the next impostors are d and e, 15 degrees apart
    assert (point.precision, point.recall, point.n) == (1, 0.8, 5)
    cut = (2 - np.cos(np.radians(10)) - np.cos(np.radians(15))) / 2
    assert point.threshold == pytest.approx(cut / 0.9, rel=1e-5)
    assert decide(1 - np.cos(np.radians(10)), point.threshold or 0)[0] == "same"
    assert decide(1 - np.cos(np.radians(15)), point.threshold or 0)[0] != "same"
    assert found.at(point.threshold or 0).recall == 0.8


def test_euclidean_distances_give_the_same_choice() -> None:
    point = choose(people("euclidean").decisions()["verification"], Target.parse("precision=1"), 0)
    assert isinstance(point, ClassPoint)
    assert (point.precision, point.recall) == (1, 0.8)
    assert point.threshold == pytest.approx((np.sin(np.radians(5)) + np.sin(np.radians(7.5))) / 0.9, rel=1e-4)


def test_probes_of_identification_are_decided_by_the_nearest_enrolled_person() -> None:
    metric = people()
    found = metric.decisions()["identification"]
    result = metric.compute().details["open_set"]
    assert result == {"enrolled": 2, "mated_probes": 2, "non_mated_probes": 6}
    assert found.positives == 2
    assert len(found.score) == 8 + int(np.isinf(found.score).sum())
    point = choose(found, Target.parse("precision=1"), 0)
    assert isinstance(point, ClassPoint)
    assert point.precision == 1


def test_pairs_of_a_dataset_are_decided_alone_and_without_names_nobody_is_identified() -> None:
    pairs = [Pair("a", "b", True, 0), Pair("a", "c", False, 0), Pair("a", "missing", True, 1)]
    metric = PairsMetric((), pairs)
    metric.update(at(0, 10, 80), [None, None, None], ["a", "b", "c"])
    found = metric.decisions()
    assert found["verification"].score == pytest.approx([np.cos(np.radians(10)) - 1, np.cos(np.radians(80)) - 1], abs=1e-6)
    assert (found["verification"].units, found["verification"].positives) == (2, 1)
    assert len(found["identification"].score) == 0
    named = PairsMetric((), pairs)
    named.update(at(0, 10, 80), ["p", "p", "q"], ["a", "b", "c"])
    assert named.decisions()["verification"].units == 2
    assert PairsMetric((), pairs).decisions()["verification"].positives == 0


@pytest.fixture(scope="module")
def model() -> Any:
    torch.manual_seed(0)
    return zoo.build("resnet20", task="face", image_size=32)


def test_tune_stores_one_threshold_per_use(model: Any, tmp_path: Path) -> None:
    folder = zoo.save(model, tmp_path / "model")
    point = zoo.tune(folder, "demo:faces?split=test", "f1", replicates=20)
    metadata = zoo.load(folder).metadata
    assert set(point.classes) == {"verification", "identification"}
    assert metadata["thresholds"] == {name: each.threshold for name, each in point.classes.items()}
    assert metadata["threshold"] == metadata["thresholds"]["verification"]
    assert metadata["operating_point"]["target"] == "f1"
    with pytest.raises(InputError, match="the predictions of this model have no threshold; omit it"):
        list(zoo.predict(model, np.zeros((32, 32, 3), np.uint8), threshold=0.5))


@pytest.mark.parametrize("score", ["cosine", "euclidean"])
@pytest.mark.parametrize("paired", [False, True])
def test_the_threshold_of_a_model_is_marked_on_the_roc(score: Any, paired: bool) -> None:
    rng = np.random.default_rng(0)
    rows = (rng.normal(size=(6, 3)).repeat(4, 0) + 0.6 * rng.normal(size=(24, 3))).astype(np.float32)
    people = [str(place // 4) for place in range(24)]
    keys = [f"{place:02}" for place in range(24)]
    chosen = [Pair(keys[a], keys[b], people[a] == people[b], b % 4) for a in range(24) for b in range(a)]
    threshold = 0.8 if score == "cosine" else 1.5
    metric = PairsMetric((), chosen, score, threshold) if paired else VerificationMetric((), score, threshold=threshold)
    metric.update(list(rows), people, keys)
    (roc,) = (curve for curve in metric.compute().curves if curve.title == "ROC")
    accepted: list[list[bool]] = [[], []]
    for a, b in combinations(range(24), 2):
        apart = distances(rows[a], rows[b : b + 1], score)[0]
        accepted[people[a] == people[b]].append(decide(float(apart), threshold)[0] == "same")
    wrong, right, words = roc.marks["ROC"]
    assert (wrong, right) == pytest.approx((np.mean(accepted[0]), np.mean(accepted[1])))
    assert 0.05 < wrong < right < 0.95
    assert words.startswith(f"distance {threshold}, true accept rate ")


def test_only_the_threshold_of_the_scored_distance_is_marked() -> None:
    scoring = zoo.build("resnet20", "face").definition.scoring
    metadata = [{"distance": "euclidean", "threshold": 1.1}]
    assert scoring.settle({"score": None}, metadata) == {"score": "euclidean", "threshold": 1.1}
    assert scoring.settle({"score": "cosine"}, metadata)["threshold"] is None
    assert scoring.settle({"score": None}, metadata * 2) == {"score": "cosine", "threshold": None}


def test_a_gallery_identifies_with_the_threshold_of_identification(model: Any, tmp_path: Path) -> None:
    rows = np.eye(64, dtype=np.float32) if model.config.options["embedding_size"] == 64 else np.eye(model.config.options["embedding_size"])
    model.metadata |= {"threshold": 0.3, "thresholds": {"verification": 0.3, "identification": 1.2}}
    gallery = zoo.Gallery(tmp_path / "people.gallery", model)
    gallery.enroll("Ann", rows[0].astype(np.float32), quality=None)
    (answer,) = gallery.identify((rows[0] + rows[1]).astype(np.float32))
    assert (answer.threshold, answer.name) == (1.2, "Ann")
    (strict,) = gallery.identify((rows[0] + rows[1]).astype(np.float32), threshold=0.2)
    assert strict.name is None
    model.metadata["thresholds"]["identification"] = -1
    with pytest.raises(InputError, match="identification: the threshold is -1; expected a distance, 0 or more"):
        zoo.Gallery(tmp_path / "people.gallery", model)
