"""Detection errors and their cost: TIDE's own code on random scenes, and scenes small enough to compute by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.tasks.detection.coco_form import columns_of_coco
from zoo.tasks.detection.data.columns import Columns
from zoo.tasks.detection.metric import average_precision
from zoo.tasks.detection.metric.errors import KINDS, Errors, errors
from zoo.tasks.detection.metric.matching import match

_THEIRS = dict(zip(KINDS, ("Cls", "Loc", "Both", "Dupe", "Bkg", "Miss"), strict=True))


def scene(objects: list[tuple[int, list[float]]], found: list[tuple[int, list[float], float]], classes: int = 2) -> Columns:
    """Return one image: objects (class, xywh) and detections (class, xywh, score)."""
    truth = {
        "images": [{"id": 1}],
        "categories": [{"id": index, "name": str(index)} for index in range(classes)],
        "annotations": [{"image_id": 1, "category_id": label, "bbox": box} for label, box in objects],
    }
    return columns_of_coco(truth, [{"image_id": 1, "category_id": label, "bbox": box, "score": score} for label, box, score in found])


def sorted_out(columns: Columns) -> Errors:
    return errors(columns, match(columns))


@pytest.mark.parametrize(
    ("found", "kind", "cost"),
    [
        ((0, [0, 0, 100, 40], 0.9), "localisation", 0.5),  # IoU 0.4 with the cat
        ((1, [0, 0, 100, 100], 0.9), "class", 0.75),  # the cat is found, and the dog's false positive is removed
        ((1, [0, 0, 100, 40], 0.9), "both", 0.25),  # is removed
        (
            (1, [300, 0, 100, 100], 0.95),
            "duplicate",
            0.0,
        ),  # the dog again, with a higher score: it takes the object, the other is the duplicate
        ((1, [600, 0, 100, 100], 0.95), "background", 0.25),
    ],
)
def test_each_kind(found: tuple[int, list[float], float], kind: str, cost: float) -> None:
    """A cat that is not found, a dog that is, and one more error.

    AP50 is the mean of the cat's 0 and the dog's 1, or 0.5 after a false positive.
    """
    columns = scene([(0, [0, 0, 100, 100]), (1, [300, 0, 100, 100])], [found, (1, [300, 0, 100, 100], 0.8)])
    result = sorted_out(columns)
    counts = {name: result.count(name) for name in KINDS}
    expected = dict.fromkeys(KINDS, 0) | {kind: 1, "missed": int(kind not in ("localisation", "class"))}
    assert counts == expected
    assert result.cost[kind] == pytest.approx(cost)  # type: ignore[index]


def test_of_several_errors_about_one_object_the_surest_is_mended() -> None:
    columns = scene([(0, [0, 0, 100, 100])], [(0, [0, 0, 100, 40], 0.6), (0, [0, 0, 40, 100], 0.9)], 1)
    result = sorted_out(columns)
    assert (result.count("localisation"), result.count("missed")) == (2, 0)
    assert result.cost["localisation"] == pytest.approx(1.0)  # the other is removed and has no effect


def test_crowds_and_difficult_objects_are_no_errors() -> None:
    columns = columns_of_coco(
        {
            "images": [{"id": 1}],
            "categories": [{"id": 1, "name": "cat"}],
            "annotations": [
                {"image_id": 1, "category_id": 1, "bbox": [0, 0, 100, 100], "iscrowd": 1},
                {"image_id": 1, "category_id": 1, "bbox": [300, 0, 100, 100], "difficult": 1},
                {"image_id": 1, "category_id": 1, "bbox": [600, 0, 100, 100]},
            ],
        },
        [{"image_id": 1, "category_id": 1, "bbox": [x, 0, 100, 100], "score": 0.9} for x in (0, 20, 300, 600)],
    )
    result = sorted_out(columns)
    assert {kind: result.count(kind) for kind in KINDS} == dict.fromkeys(KINDS, 0)
    assert set(result.cost.values()) == {0.0}


@pytest.mark.parametrize("objects", [[], [(0, [0.0, 0.0, 10.0, 10.0])]])
def test_without_objects_or_detections(objects: list[tuple[int, list[float]]]) -> None:
    assert sorted_out(scene(objects, [])).count("missed") == len(objects)
    assert sorted_out(scene([], [(0, [0, 0, 10, 10], 0.5)])).count("background") == 1


@st.composite
def scenes(draw: st.DrawFn) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Up to five images and three classes, each with objects; all overlaps and scores are distinct."""
    rng = np.random.default_rng(draw(st.integers(0, 100_000)))
    classes, pictures = draw(st.integers(1, 3)), draw(st.integers(1, 5))

    def box() -> list[float]:
        return [float(value) for value in (*rng.uniform(0, 60, 2), *rng.uniform(20, 80, 2))]

    def entry(label: int) -> dict[str, Any]:
        return {"image_id": int(rng.integers(pictures)), "category_id": label, "bbox": box()}

    truth = [entry(label) for label in range(classes)]
    truth += [entry(int(rng.integers(classes))) for _ in range(draw(st.integers(0, 20)))]
    found = []
    for _ in range(draw(st.integers(1, 60))):
        answer = entry(int(rng.integers(classes))) | {"score": float(rng.random())}
        if rng.random() < 0.5:  # near an object, mostly of its class
            near = truth[rng.integers(len(truth))]
            moved = [max(1.0, float(value + rng.normal(0, 6))) for value in near["bbox"]]
            answer |= {"image_id": near["image_id"], "bbox": moved} | ({"category_id": near["category_id"]} if rng.random() < 0.7 else {})
        found.append(answer)
    images, categories = [{"id": index} for index in range(pictures)], [{"id": label, "name": str(label)} for label in range(classes)]
    return {"images": images, "categories": categories, "annotations": truth}, found


@given(scenes())
@settings(deadline=None, max_examples=150)
def test_counts_and_costs_are_those_of_tidecv(given_: tuple[dict[str, Any], list[dict[str, Any]]]) -> None:
    columns = columns_of_coco(*given_)
    with (
        pytest.MonkeyPatch.context() as patch
    ):  # tidecv divides by 100 where pycocotools multiplies by 0.01, which differs in the last bits
        patch.setattr(average_precision, "RECALLS", np.array([step / 100 for step in range(101)]))
        ours = errors(columns, match(columns, 1000))
    counts, costs = by_tidecv(columns)
    assert {kind: ours.count(kind) for kind in KINDS} == {kind: counts[name] for kind, name in _THEIRS.items()}
    assert ours.cost == {kind: pytest.approx(costs[name] / 100, abs=1e-9) for kind, name in _THEIRS.items()}


def by_tidecv(columns: Columns) -> tuple[dict[str, int], dict[str, float]]:
    """Return the counts and the costs in percentage points, by kind."""
    from tidecv import TIDE, Data

    truth, found = Data("truth"), Data("found", max_dets=1000)
    for data in (truth, found):
        for label, name in enumerate(columns.classes):
            data.add_class(label, name)
        for place, key in enumerate(columns.keys):
            data.add_image(place, key)
    for picture, label, box in zip(columns.truth.picture.tolist(), columns.truth.label.tolist(), columns.truth.xywh.tolist(), strict=True):
        truth.add_ground_truth(picture, label, box)
    rows = zip(
        columns.found.picture.tolist(), columns.found.label.tolist(), columns.found.score.tolist(), columns.found.xywh.tolist(), strict=True
    )
    for row in rows:
        found.add_detection(*row)
    tide = TIDE()
    run = tide.evaluate(truth, found, mode=TIDE.BOX)
    return {kind.short_name: len(each) for kind, each in run.error_dict.items()}, tide.get_main_errors()["found"]
