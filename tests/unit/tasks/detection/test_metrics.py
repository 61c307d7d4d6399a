"""COCO's scores: on the official example, and on scenes small enough to compute by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.tasks.detection.coco_form import coco_scores, columns_of_coco
from zoo.errors import InputError, UnknownNameError
from zoo.evaluation.intervals import interval
from zoo.task.contract import get_task
from zoo.tasks.detection.data.columns import Columns, columns_of
from zoo.tasks.detection.data.targets import as_target
from zoo.tasks.detection.metric import metric as metrics
from zoo.tasks.detection.metric.average_precision import weighted_scores
from zoo.tasks.detection.metric.matching import match
from zoo.tasks.detection.metric.metric import CocoMetric
from zoo.tasks.detection.options import DetectionScoring, Evaluator

# output of pycocotools for its own example, with all digits
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
    """cocoapi#507: a match with annotation id 0 was treated as no match."""
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
    assert result.scores["APs"] is None  # there is no small object: not -1
    assert result.scores["APl"] == pytest.approx(0.3)


def test_boxes_are_as_wide_as_their_corners_say() -> None:
    """The IoU is 0.49 by hand; with sides longer by one pixel, as some tools count, it would be 0.54 and a true positive."""
    result = scored({"a": (answer([[0, 0, 4.9, 10]], [0.9], [0]), target([[0, 0, 10, 10]], [0]))})
    assert result.scores["AP50"] == 0.0


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
    """cocoapi#558; the hundred highest-scoring detections count."""
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
        for key in [*sorted(pictures)[rank::3], "p0"]:  # p0 is padding in every process
            part.update([pictures[key][0]], [pictures[key][1]], [key])
        parts.append(part)
    parts[1].merge([part.state() for part in parts])
    assert parts[1].compute() == whole


@st.composite
def evaluations(draw: st.DrawFn) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Few positions and scores, so that matches, ties, crowds and empty images are common; ids start at 0 and have gaps."""
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


@pytest.mark.slow
@given(evaluations(), st.sampled_from([11, 100, 300]))
@settings(deadline=None, max_examples=150)
def test_both_evaluators_say_the_same(given_: tuple[dict[str, Any], list[dict[str, Any]]], max_dets: int) -> None:
    truth, found = given_
    faster, reference = (coco_scores(truth, found, DetectionScoring(name, max_dets)) for name in get_args(Evaluator))
    for name, value in reference.scores.items():
        assert faster.scores[name] == (None if value is None else pytest.approx(value, abs=1e-12)), name
    assert faster.per_class == {name: pytest.approx(values, abs=1e-12) for name, values in reference.per_class.items()}
    own = counted_once(columns_of_coco(truth, found), max_dets)
    expected = {name: np.nan if value is None else value for name, value in reference.scores.items()}
    assert own == pytest.approx(expected, abs=1e-12, nan_ok=True)


def counted_once(columns: Columns, max_dets: int = 100) -> dict[str, float]:
    """Score with the zoo's own matching, on which intervals and errors are based."""
    once = np.ones((1, len(columns.keys)), np.int32)
    return {name: float(values[0]) for name, values in weighted_scores(columns, match(columns, max_dets), once, max_dets).items()}


@given(st.integers(0, 10_000), st.lists(st.integers(0, 3), min_size=6, max_size=6))
@settings(deadline=None, max_examples=60)
def test_a_draw_is_scored_as_its_pictures_repeated(seed: int, counts: list[int]) -> None:
    pictures = noisy_pictures(np.random.default_rng(seed), 6)
    targets, answers = [as_target(truth, "") for _, truth in pictures.values()], [found for found, _ in pictures.values()]
    whole = columns_of(list(pictures), ("cat", "dog"), targets, answers)
    drawn = weighted_scores(whole, match(whole), np.array([counts], np.int32), 100)
    repeated = [picture for picture, count in zip(pictures.values(), counts, strict=True) for _ in range(count)]
    targets, answers = [as_target(truth, "") for _, truth in repeated], [found for found, _ in repeated]
    expected = counted_once(columns_of([str(i) for i in range(len(repeated))], ("cat", "dog"), targets, answers))
    assert {name: float(values[0]) for name, values in drawn.items()} == pytest.approx(expected, abs=1e-12, nan_ok=True)


def noisy_pictures(rng: np.random.Generator, count: int) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """Return images with objects of two classes and three sizes, and detections near most of them; all scores are distinct."""
    pictures = {}
    for index in range(count):
        corners = rng.uniform(0, 80, (5, 2))
        boxes = np.concatenate([corners, corners + rng.choice([20, 60, 150], (5, 1)) * rng.uniform(0.8, 1.2, (5, 2))], axis=1)
        labels = rng.integers(0, 2, 5).tolist()
        near = np.where(rng.random((5, 1)) < 0.8, boxes + rng.normal(0, 4, boxes.shape), boxes + 300)
        found = answer(near.tolist(), rng.random(5).tolist(), np.where(rng.random(5) < 0.8, labels, 1 - np.array(labels)).tolist())
        found["boxes"][:, 2:] = np.maximum(found["boxes"][:, 2:], found["boxes"][:, :2] + 1)
        pictures[f"p{index}"] = (found, target(boxes.tolist(), labels))
    return pictures


def test_intervals_lie_around_the_scores() -> None:
    metric = CocoMetric(("cat", "dog"))
    for key, (found, truth) in noisy_pictures(np.random.default_rng(0), 40).items():
        metric.update([found], [truth], [key])
    result = metric.compute(200)
    assert set(result.replicates) == set(result.scores)
    for name, value in result.scores.items():
        assert value is not None
        bounds = interval(result.replicates[name], value)
        assert bounds is not None
        assert bounds[0] < value < bounds[1], name


def test_very_many_detections_get_fewer_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "_COUNTED", 1)
    metric = CocoMetric(("cat",))
    metric.update([answer([[0, 0, 10, 10]], [0.5], [0])], [target([[0, 0, 10, 10]], [0])], ["a"])
    result = metric.compute(1000)
    assert len(result.replicates["AP"]) == result.details["bootstrap"]["replicates"] == 200


def test_more_answers_may_count() -> None:
    """The last AR is named after the limit, and pycocotools' -1 for other limits than 100 (cocoapi#558) is not passed on."""
    boxes = [[float(x), 0.0, x + 40.0, 40.0] for x in range(0, 6000, 50)]
    metric = CocoMetric(("cat",), DetectionScoring("pycocotools", 300))
    metric.update([answer(boxes, np.linspace(0.9, 0.1, len(boxes)).tolist(), [0] * len(boxes))], [target(boxes, [0] * len(boxes))], ["a"])
    scores = metric.compute().scores
    assert scores["AP"] == scores["AR300"] == ONE
    assert scores["AR10"] == pytest.approx(10 / 120)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (answer([[0, 0, 9, 9]], [np.nan], [0]), "scores are not finite"),
        (answer([[0, np.inf, 9, 9]], [0.5], [0]), "boxes are not finite"),
        (answer([[9, 0, 0, 9]], [0.5], [0]), "upside down"),
        (answer([[0, 0, 9, 9]], [0.5], [1]), "labels range from 1 to 1; expected indices of the 1 classes, from 0"),
        (answer([[0, 0, 9, 9]], [0.5], [-1]), "labels range from -1 to -1"),
    ],
)
def test_answers_that_cannot_be_scored_are_named(found: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=f"cat.jpg: .*{words}"):
        CocoMetric(("cat",)).update([found], [target([], [])], ["cat.jpg"])


def test_pictures_count_in_the_order_of_their_ids() -> None:
    """Equal scores in two images: the one with the smaller id counts first, whatever the names of the files."""
    right = (answer([[0, 0, 50, 50]], [0.5], [0]), target([[0, 0, 50, 50]], [0]))
    wrong = (answer([[0, 0, 50, 50]], [0.5], [0]), target([], []))
    for order, precision in (({"a": 0, "z": 1}, 0.5), ({"z": 0, "a": 1}, 1.0)):
        metric = CocoMetric(("cat",), order=order)
        metric.update([wrong[0], right[0]], [wrong[1], right[1]], ["a", "z"])
        assert metric.compute().scores["AP50"] == pytest.approx(precision)


def test_the_worst_pictures_show_their_errors() -> None:
    metric = CocoMetric(("cat", "dog"))
    boxes = [[0.0, 0.0, 50.0, 50.0], [100.0, 0.0, 150.0, 50.0]]
    metric.update([answer(boxes[:1], [0.9], [1])], [target(boxes, [0, 0])], ["bad"])
    metric.update([answer(boxes, [0.9, 0.2], [0, 1])], [target(boxes[:1], [0])], ["fair"])  # a low-scoring false positive is not shown
    result = metric.compute()
    (mistake,) = result.mistakes
    assert (mistake.keys, mistake.text) == (("bad",), "1 missed, 1 class")
    assert mistake.boxes_xyxy == (((100, 0, 150, 50), "missed: cat"), ((0, 0, 50, 50), "class: dog 0.90"))
    assert [curve.title for curve in result.curves] == ["Precision and recall, mean over the classes"]
    (table,) = result.tables
    assert {row[0]: row[1] for row in table.rows} == {
        "class": 1, "localisation": 0, "both": 0, "duplicate": 0, "background": 1, "missed": 1,
    }  # fmt: skip


def test_the_evaluator_is_an_option() -> None:
    standard = {"evaluator": "faster", "max_dets": 100, "threshold": None, "thresholds": None}
    assert get_task("detection").parse_scoring({}) == standard
    assert CocoMetric(("cat",), DetectionScoring("pycocotools")).compute().details["evaluator"] == "pycocotools"
    with pytest.raises(UnknownNameError, match=r"evaluator for detection: 'other'.* Known: faster, pycocotools"):
        get_task("detection").parse_scoring({"evaluator": "other"})
    with pytest.raises(UnknownNameError, match="scoring option of the task detection: 'evaluators'"):
        get_task("detection").parse_scoring({"evaluators": "faster"})
    with pytest.raises(InputError, match="max_dets is 10; expected a whole number above 10"):
        get_task("detection").parse_scoring({"max_dets": 10})
