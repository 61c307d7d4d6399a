"""COCO's numbers: against the official example, and on scenes small enough to reckon by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.errors import InputError, UnknownNameError
from zoo.task import get_task
from zoo.tasks.detection.coco_form import coco_scores
from zoo.tasks.detection.metrics import CocoMetric
from zoo.tasks.detection.scoring import DetectionScoring, Evaluator

# what pycocotools prints for its own example, with every digit
ORACLE = (
    0.5045806987249628, 0.6969727247299577, 0.5729816669904824, 0.5856257209410443, 0.5193996948036719, 0.5013978987346466,
    0.38681277964578054, 0.5936795762842003, 0.595352982877607, 0.6398109626113442, 0.5664205978994309, 0.5642905982905982,
)  # fmt: skip

NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
ONE = pytest.approx(1.0, abs=1e-12)  # pycocotools adds the smallest number to its divisors


def answer(boxes: list[list[float]], scores: list[float], labels: list[int]) -> dict[str, Any]:
    return {"boxes": np.array(boxes, np.float32).reshape(-1, 4), "scores": np.array(scores, np.float32), "labels": np.array(labels)}


def target(boxes: list[list[float]], labels: list[int], **more: list[Any]) -> dict[str, Any]:
    return {"boxes": np.array(boxes, np.float32).reshape(-1, 4), "labels": np.array(labels), **more}


def scored(pictures: dict[str, tuple[dict[str, Any], dict[str, Any]]], classes: tuple[str, ...] = ("cat", "dog")) -> Any:
    metric = CocoMetric(classes)
    for key, (found, truth) in pictures.items():
        metric.update([found], [truth], [key])
    return metric.compute()


@pytest.mark.parametrize("evaluator", ["faster", "pycocotools"])
def test_the_official_example_to_ten_digits(shared_data: Path, capsys: pytest.CaptureFixture[str], evaluator: Evaluator) -> None:
    folder = shared_data / "coco-oracle"
    truth = json.loads((folder / "instances_val2014_100.json").read_text())
    found = json.loads((folder / "instances_val2014_fakebbox100_results.json").read_text())
    result = coco_scores(truth, found, DetectionScoring(evaluator))
    assert tuple(result.scores) == NAMES
    assert list(result.scores.values()) == pytest.approx(ORACLE, abs=1e-10)
    assert capsys.readouterr().out == ""
    per_class = [scores["AP"] for scores in result.per_class.values()]
    assert np.mean([value for value in per_class if value is not None]) == pytest.approx(ORACLE[0], abs=1e-10)
    assert np.mean([scores["AP50"] or 0 for scores in result.per_class.values()]) == pytest.approx(ORACLE[1], abs=1e-10)


def test_ids_from_nought_count() -> None:
    """cocoapi#507: a match with annotation id 0 was taken for none."""
    truth = {
        "images": [{"id": 0}],
        "categories": [{"id": 0, "name": "cat"}],
        "annotations": [{"id": 0, "image_id": 0, "category_id": 0, "bbox": [0, 0, 50, 50]}],
    }
    result = coco_scores(truth, [{"id": 0, "image_id": 0, "category_id": 0, "bbox": [0, 0, 50, 50], "score": 0.5}])
    assert result.scores["AP"] == ONE
    assert result.scores["AR1"] == ONE


def test_a_box_that_overlaps_by_six_tenths() -> None:
    """IoU 0.6 counts at the thresholds 0.50, 0.55 and 0.60: three of ten."""
    result = scored({"a": (answer([[0, 0, 60, 100]], [0.9], [0]), target([[0, 0, 100, 100]], [0]))})
    assert result.scores["AP"] == pytest.approx(0.3)
    assert (result.scores["AP50"], result.scores["AP75"]) == (ONE, 0.0)
    assert result.per_class == {"cat": {"AP": pytest.approx(0.3), "AP50": ONE, "AR": pytest.approx(0.3)}}
    assert result.scores["APs"] is None  # no small object there: not -1
    assert result.scores["APl"] == pytest.approx(0.3)


def test_another_class_is_no_match() -> None:
    result = scored({"a": (answer([[0, 0, 100, 100]], [0.9], [1]), target([[0, 0, 100, 100]], [0]))})
    assert result.scores["AP"] == 0.0
    assert set(result.per_class) == {"cat"}


def test_without_objects_nothing_is_defined() -> None:
    assert set(scored({"a": (answer([], [], []), target([], []))}).scores.values()) == {None}
    assert set(CocoMetric(("cat",)).compute().scores.values()) == {None}


def test_a_false_alarm_in_an_empty_picture_costs() -> None:
    right = (answer([[0, 0, 100, 100]], [0.5], [0]), target([[0, 0, 100, 100]], [0]))
    alarm = (answer([[0, 0, 50, 50]], [0.9], [0]), target([], []))
    assert scored({"a": right}).scores["AP"] == ONE
    assert scored({"a": right, "b": alarm}).scores["AP"] == pytest.approx(0.5)


@pytest.mark.parametrize("mark", ["iscrowd", "difficult"])
def test_crowds_and_difficult_objects_count_neither_way(mark: str) -> None:
    boxes = [[0.0, 0.0, 100.0, 100.0], [200.0, 200.0, 300.0, 300.0]]
    truth = target(boxes, [0, 0], **{mark: [False, True]})
    unfound = scored({"a": (answer(boxes[:1], [0.9], [0]), truth)})
    found = scored({"a": (answer(boxes, [0.5, 0.9], [0, 0]), truth)})
    assert (unfound.scores["AP"], found.scores["AP"]) == (ONE, ONE)
    missed = scored({"a": (answer(boxes[:1], [0.9], [0]), target(boxes, [0, 0]))})
    assert missed.scores["AP"] == pytest.approx(0.504950495)  # recall 0.5: 51 of the 101 points


def test_a_crowd_takes_several_answers_and_a_difficult_object_one() -> None:
    thing, group = [0.0, 0.0, 100.0, 100.0], [200.0, 200.0, 300.0, 300.0]
    found = answer([thing, group, group], [0.5, 0.9, 0.8], [0, 0, 0])
    assert scored({"a": (found, target([thing, group], [0, 0], iscrowd=[False, True]))}).scores["AP"] == ONE
    assert scored({"a": (found, target([thing, group], [0, 0], difficult=[False, True]))}).scores["AP"] == pytest.approx(0.5)


def test_the_area_is_the_annotations() -> None:
    """A mask's area, not the box's, decides what is small."""
    truth = target([[0, 0, 100, 100]], [0], area=[900.0])
    result = scored({"a": (answer([[0, 0, 100, 100]], [0.9], [0]), truth)})
    assert (result.scores["APs"], result.scores["APl"]) == (ONE, None)


def test_more_than_a_hundred_answers_leave_the_scores_defined() -> None:
    """cocoapi#558; the hundred surest count."""
    boxes = [[float(x), 0.0, x + 40.0, 40.0] for x in range(0, 6000, 50)]
    scores = np.linspace(0.9, 0.1, len(boxes)).tolist()
    result = scored({"a": (answer(boxes, scores, [0] * len(boxes)), target(boxes, [0] * len(boxes)))})
    assert result.scores["AR100"] == pytest.approx(100 / 120)
    assert result.scores["AP"] == pytest.approx(84 / 101)


def test_order_batches_and_processes_do_not_matter() -> None:
    random = np.random.default_rng(0)
    pictures = {}
    for index in range(9):
        corners = random.uniform(0, 80, (4, 2))
        boxes = np.concatenate([corners, corners + random.uniform(20, 60, (4, 2))], axis=1)
        noise = random.normal(0, 6, boxes.shape)
        labels = random.integers(0, 2, 4).tolist()
        # scores repeat, so that the order of equals matters
        pictures[f"p{index}"] = (answer((boxes + noise).tolist(), [0.9, 0.5, 0.5, 0.5], labels), target(boxes.tolist(), labels))
    whole = scored(pictures)
    assert 0.1 < (whole.scores["AP"] or 0) < 0.9
    assert scored(dict(reversed(pictures.items()))) == whole
    parts = []
    for rank in range(3):
        part = CocoMetric(("cat", "dog"))
        for key in [*sorted(pictures)[rank::3], "p0"]:  # p0 padded into every process
            part.update([pictures[key][0]], [pictures[key][1]], [key])
        parts.append(part)
    parts[1].merge([part.state() for part in parts])
    assert parts[1].compute() == whole


def test_an_answer_for_a_strange_picture_is_refused() -> None:
    truth: dict[str, Any] = {"images": [{"id": 1}], "categories": [{"id": 1, "name": "cat"}], "annotations": []}
    with pytest.raises(InputError, match=r"1 pictures that the ground truth doesn't have: 7"):
        coco_scores(truth, [{"image_id": 7, "category_id": 1, "bbox": [0, 0, 1, 1], "score": 1.0}])


@st.composite
def evaluations(draw: st.DrawFn) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Few places and few scores, so that matches, ties, crowds and pictures with nothing in them are common; ids from 0, with gaps."""
    rng = np.random.default_rng(draw(st.integers(0, 100_000)))
    images, categories = (
        [{"id": 3 * index} for index in range(draw(st.integers(1, 5)))],
        [{"id": index, "name": str(index)} for index in (0, 7)],
    )

    def boxes(count: int) -> list[dict[str, Any]]:
        return [
            {
                "image_id": int(rng.choice([image["id"] for image in images])),
                "category_id": int(rng.choice([0, 7])),
                "bbox": [float(value) for value in (*rng.integers(0, 4, 2) * 9.5, *(rng.integers(1, 5, 2) * 30.25))],
            }
            for _ in range(count)
        ]

    truth = boxes(draw(st.integers(0, 25)))
    for number, entry in enumerate(truth):
        entry |= {"id": number} | ({"iscrowd": 1} if rng.random() < 0.15 else {}) | ({"difficult": True} if rng.random() < 0.15 else {})
        if rng.random() < 0.3:
            entry["area"] = float(rng.choice([500.0, 3000.0, 20_000.0]))
    found = [entry | {"score": float(rng.integers(1, 6) / 5)} for entry in boxes(draw(st.sampled_from([0, 3, 30, 400])))]
    return {"images": images, "categories": categories, "annotations": truth}, found


@given(evaluations())
@settings(deadline=None, max_examples=150)
def test_both_evaluators_say_the_same(given_: tuple[dict[str, Any], list[dict[str, Any]]]) -> None:
    truth, found = given_
    faster, reference = coco_scores(truth, found), coco_scores(truth, found, DetectionScoring("pycocotools"))
    for name, value in reference.scores.items():
        assert faster.scores[name] == (None if value is None else pytest.approx(value, abs=1e-12)), name
    assert faster.per_class == {name: pytest.approx(values, abs=1e-12) for name, values in reference.per_class.items()}


def test_the_evaluator_is_an_option() -> None:
    assert get_task("detection").parse_scoring({}) == {"evaluator": "faster", "max_dets": 100}
    assert CocoMetric(("cat",), DetectionScoring("pycocotools")).compute().details["evaluator"] == "pycocotools"
    with pytest.raises(UnknownNameError, match="evaluator of detection's scores: 'other'"):
        get_task("detection").parse_scoring({"evaluator": "other"})
    with pytest.raises(UnknownNameError, match="option of detection's scores: 'evaluators'"):
        get_task("detection").parse_scoring({"evaluators": "faster"})
    with pytest.raises(InputError, match="max_dets is 10; expected a whole number above 10"):
        get_task("detection").parse_scoring({"max_dets": 10})
