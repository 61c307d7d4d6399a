"""Scores of attributes: worked out by hand, equal to pycocotools on pairs of class and value, and undefined without attributes."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from zoo.task.metric import MetricResult
from zoo.tasks.detection.metric.metric import CocoMetric
from zoo.tasks.detection.options import DetectionScoring

ATTRIBUTES = {"colour": ["red", "blue"], "size": ["s", "m", "l"]}
CLASSES = ("cat", "dog")
A, B, C = [0.0, 0.0, 40.0, 40.0], [50.0, 50.0, 90.0, 90.0], [100.0, 0.0, 140.0, 40.0]
ONE = pytest.approx(1.0, abs=1e-12)


def answer(*found: tuple[list[float], float, int, list[float]]) -> dict[str, Any]:
    """Return boxes with score, label and the probabilities of the colours."""
    return {
        "boxes": np.array([box for box, *_ in found], np.float32).reshape(-1, 4),
        "scores": np.array([score for _, score, *_ in found], np.float32),
        "labels": np.array([label for _, _, label, _ in found], np.int64),
        "attributes": {"colour": np.array([values for *_, values in found], np.float32).reshape(-1, 2)},
    }


def target(*objects: tuple[list[float], int, int]) -> dict[str, Any]:
    boxes = np.array([box for box, _, _ in objects], np.float32).reshape(-1, 4)
    labels, colours = (np.array([each[place] for each in objects], np.int64) for place in (1, 2))
    return {"boxes": boxes, "labels": labels, "attribute:colour": colours}


def three(result: MetricResult) -> list[Any]:
    """Return accuracy, AP and AP50."""
    return [result.scores[name] for name in ("attribute_accuracy", "attribute_AP", "attribute_AP50")]


def scored(pictures: Sequence[tuple[dict[str, Any], dict[str, Any]]], replicates: int = 0) -> MetricResult:
    metric = CocoMetric(CLASSES, attributes={"colour": ["red", "blue"]})
    for number, (found, truth) in enumerate(pictures):
        metric.update([found], [truth], [f"{number:03d}"])
    return metric.compute(replicates)


def test_accuracy_counts_matched_boxes_with_a_known_value() -> None:
    """A is matched twice, by its first box alone; B is unknown; C is missed, and a detection of the wrong class doesn't match it."""
    found = answer((A, 0.9, 0, [0.9, 0.1]), (A, 0.8, 0, [0.1, 0.9]), (B, 0.7, 0, [0.6, 0.4]), (C, 0.6, 0, [0.9, 0.1]))
    result = scored([(found, target((A, 0, 0), (B, 0, -1), (C, 1, 0))), (answer((A, 0.3, 1, [0.4, 0.6])), target((A, 1, 0)))])
    assert result.scores["attribute_accuracy"] == 0.5
    details = result.details["attributes"]["colour"]
    assert (details["objects"], details["matched"]) == (3, 2)
    assert details["values"]["red"] == {"objects": 3, "matched": 2, "accuracy": 0.5, "AP": details["AP"], "AP50": details["AP50"]}
    assert details["values"]["blue"] == {"objects": 0, "matched": 0, "accuracy": None, "AP": None, "AP50": None}


def test_a_detection_is_right_if_class_and_value_are() -> None:
    """Red cats: the right one has the score 0.9 · 0.9, the wrong one 0.9 · 0.2; blue cats: 0.9 · 0.8 and 0.9 · 0.1."""
    right = scored([(answer((A, 0.9, 0, [0.9, 0.1]), (B, 0.9, 0, [0.2, 0.8])), target((A, 0, 0), (B, 0, 1)))])
    assert three(right) == [1.0, ONE, ONE]
    wrong = scored([(answer((A, 0.9, 0, [0.1, 0.9]), (B, 0.9, 0, [0.8, 0.2])), target((A, 0, 0), (B, 0, 1)))])
    half = pytest.approx(0.5)
    assert three(wrong) == [0.0, half, half]  # each object is found after the wrong one: precision 1/2 at every recall
    assert wrong.scores["AP"] == ONE
    table = next(each for each in wrong.tables if each.title == "Attributes")
    assert list(table.rows[0]) == ["colour", "", 2, 2, 0.0, half, half]


def test_unknown_values_count_neither_as_found_nor_as_missed() -> None:
    result = scored([(answer((A, 0.9, 0, [0.9, 0.1]), (B, 0.99, 0, [1.0, 0.0])), target((A, 0, 0), (B, 0, -1)))])
    assert three(result) == [1.0, ONE, ONE]


def test_without_known_values_scores_are_undefined() -> None:
    result = scored([(answer((A, 0.9, 0, [0.9, 0.1])), target((A, 0, -1)))], replicates=10)
    assert three(result) == [None] * 3
    assert all(np.isnan(result.replicates[name]).all() for name in ("attribute_accuracy", "attribute_AP"))
    lacking = {"boxes": np.array([A], np.float32), "labels": np.array([0])}  # data without the attribute
    assert scored([(answer((A, 0.9, 0, [0.9, 0.1])), lacking)]).scores["attribute_accuracy"] is None
    assert scored([]).scores["attribute_AP"] is None


def test_models_without_attributes_have_no_scores_of_attributes() -> None:
    metric = CocoMetric(CLASSES)
    metric.update([answer((A, 0.9, 0, [0.9, 0.1]))], [target((A, 0, 0))], ["p"])
    result = metric.compute(2)
    assert not any("attribute" in name for name in (*result.scores, *result.details, *result.replicates))


def random_pictures(seed: int, count: int = 12) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Return detections that are objects of their image, moved a little, with other probabilities; some objects have unknown values."""
    random = np.random.default_rng(seed)
    pictures = []
    for _ in range(count):
        objects, total = int(random.integers(0, 6)), int(random.integers(0, 9))
        corner = random.integers(0, 60, (objects, 2))
        boxes = np.concatenate([corner, corner + random.integers(10, 120, (objects, 2))], 1).astype(np.float32)
        truth: dict[str, Any] = {
            "boxes": boxes,
            "labels": random.integers(0, 2, objects),
            "iscrowd": random.random(objects) < 0.1,
            **{f"attribute:{name}": random.integers(-1, len(values), objects) for name, values in ATTRIBUTES.items()},
        }
        rows = random.integers(0, max(1, objects), total if objects else 0)
        labels = np.where(random.random(len(rows)) < 0.8, truth["labels"][rows], random.integers(0, 2, len(rows)))
        found: dict[str, Any] = {
            "boxes": (boxes[rows] + random.normal(0, 4, (len(rows), 4))).astype(np.float32),
            "scores": np.sort(random.random(len(rows)).astype(np.float32))[::-1],
            "labels": labels.astype(np.int64),
            "attributes": {
                name: random.dirichlet(np.ones(len(values)), len(rows)).astype(np.float32).reshape(-1, len(values))
                for name, values in ATTRIBUTES.items()
            },
        }
        found["boxes"][:, 2:] = np.maximum(found["boxes"][:, 2:], found["boxes"][:, :2] + 1)
        pictures.append((found, truth))
    return pictures


def reference(pictures: Sequence[tuple[dict[str, Any], dict[str, Any]]], name: str) -> tuple[float, float]:
    """Return AP and AP50 that pycocotools computes if each pair of a class and a value is a category."""
    size = len(ATTRIBUTES[name])
    objects: list[dict[str, Any]] = []
    answers: list[dict[str, Any]] = []
    for image, (found, truth) in enumerate(pictures, 1):
        for box, label, value, crowd in zip(
            truth["boxes"].tolist(), truth["labels"].tolist(), truth[f"attribute:{name}"].tolist(), truth["iscrowd"].tolist(), strict=True
        ):
            xywh = [box[0], box[1], box[2] - box[0], box[3] - box[1]]
            for each in range(size) if value < 0 else [value]:
                entry = {"image_id": image, "category_id": label * size + each + 1, "bbox": xywh, "area": xywh[2] * xywh[3]}
                objects.append({**entry, "id": len(objects) + 1, "iscrowd": int(crowd), "out": int(crowd or value < 0)})
        for box, label, score, values in zip(
            found["boxes"].astype(np.float64).tolist(),
            found["labels"].tolist(),
            found["scores"].tolist(),
            found["attributes"][name].tolist(),
            strict=True,
        ):
            for each in range(size):
                entry = {"image_id": image, "category_id": label * size + each + 1, "score": score * values[each]}
                answers.append({**entry, "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]]})
    with contextlib.redirect_stdout(io.StringIO()):
        truth_coco = COCO()
        truth_coco.dataset = {
            "images": [{"id": number} for number in range(1, len(pictures) + 1)],
            "categories": [{"id": number, "name": str(number)} for number in range(1, 2 * size + 1)],
            "annotations": objects,
        }
        truth_coco.createIndex()
        evaluation = COCOeval(truth_coco, truth_coco.loadRes(answers), "bbox")
        prepare = evaluation._prepare

        def with_ignored() -> None:
            prepare()
            for entry in evaluation.cocoGt.anns.values():
                entry["ignore"] = entry["out"]

        evaluation._prepare = with_ignored
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats[0], evaluation.stats[1]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("evaluator", ["faster", "pycocotools"])
def test_precision_is_that_of_pycocotools(seed: int, evaluator: Any) -> None:
    pictures = random_pictures(seed)
    metric = CocoMetric(CLASSES, DetectionScoring(evaluator), attributes=ATTRIBUTES)
    for number, (found, truth) in enumerate(pictures):
        metric.update([found], [truth], [f"{number:03d}"])
    result = metric.compute()
    own = [reference(pictures, name) for name in ATTRIBUTES]
    details = [result.details["attributes"][name] for name in ATTRIBUTES]
    assert [(each["AP"], each["AP50"]) for each in details] == [pytest.approx(each, abs=1e-10) for each in own]
    assert result.scores["attribute_AP"] == pytest.approx(np.mean([ap for ap, _ in own]), abs=1e-10)
    assert 0 < result.scores["attribute_AP"] < 1  # type: ignore[operator]


def test_replicates_are_the_scores_of_the_drawn_images() -> None:
    """The replicates of a draw equal the scores of a dataset that contains each image as often as it was drawn."""
    from zoo.evaluation.intervals import draws

    pictures = random_pictures(7)
    metric = CocoMetric(CLASSES, attributes=ATTRIBUTES)
    for number, (found, truth) in enumerate(pictures):
        metric.update([found], [truth], [f"{number:03d}"])
    result = metric.compute(replicates=4)
    (counts,) = draws(len(pictures), 4)
    for row, drawn in enumerate(counts):
        again = CocoMetric(CLASSES, attributes=ATTRIBUTES)
        for number, (found, truth) in enumerate(pictures):
            for copy in range(int(drawn[number])):
                again.update([found], [truth], [f"{number:03d}-{copy}"])
        scores = again.compute().scores
        for name in ("attribute_accuracy", "attribute_AP", "attribute_AP50"):
            assert result.replicates[name][row] == pytest.approx(scores[name], abs=1e-9)
