"""Parts of a report: charts, the confusion matrix, and the images of mistakes."""

from __future__ import annotations

import base64
import math
import re

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from zoo.report.charts import axis, chart, round_step
from zoo.report.confusion import confusion, levels
from zoo.report.mistakes import COLOURS, SIDE, kinds_of, overlaid, pictures
from zoo.report.pages import data_uri, fitting_uri
from zoo.task.metric import Curve

Box = tuple[tuple[float, float, float, float], str]


def numbers(svg: str) -> list[float]:
    """Return the tick labels of the horizontal axis."""
    return [float(label) for label in re.findall(r'y="247" text-anchor="middle">([^<]+)<', svg)]


def points(svg: str, kind: str) -> NDArray[np.float64]:
    """Return the points of a line, [N, 2]."""
    found = re.search(rf'<polyline class="{kind}" points="([^"]+)"', svg)
    assert found is not None
    return np.array([[float(side) for side in pair.split(",")] for pair in found[1].split()])


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [(0.0, 1.0, [0, 0.2, 0.4, 0.6, 0.8, 1]), (0.88, 0.99, [0.9, 0.95, 1]), (1, 17, [0, 5, 10, 15, 20])],
)
def test_ticks_are_round_and_span_the_values(low: float, high: float, ticks: list[float]) -> None:
    found = axis(np.array([low, high]), False, 0, 100)
    assert found.ticks() == pytest.approx(ticks)
    assert found.low <= low < high <= found.high


@pytest.mark.parametrize("span", [1e-7, 0.3, 1.0, 7.0, 4_321.0])
def test_steps_are_one_two_or_five(span: float) -> None:
    step = round_step(span)
    assert round(step / 10.0 ** math.floor(math.log10(step) + 1e-9), 6) in (1, 2, 5)
    assert 2 <= span / step <= 5.5


@pytest.mark.parametrize("values", [[3.0, 3.0], [0.0], [-2.0, -1.0], []])
def test_an_axis_is_never_empty(values: list[float]) -> None:
    found = axis(np.array(values), False, 0, 100)
    assert found.high > found.low
    assert np.isfinite(found.place(np.array(values))).all()
    assert all(found.low <= value <= found.high for value in values)


def test_a_logarithmic_axis_has_a_tick_for_each_power_of_ten() -> None:
    svg = chart(Curve("ROC", "x", "y", {"a": ([0.0, 0.001, 0.01, 0.1, 1.0], [0.1, 0.2, 0.3, 0.4, 1.0])}, log_x=True, diagonal=True))
    assert numbers(svg) == [0.001, 0.01, 0.1, 1]
    places = points(svg, "line s0")[:, 0]
    assert np.diff(places[1:]) == pytest.approx([places[2] - places[1]] * 3, abs=0.11)
    assert places[0] == places[1], "0 has no logarithm: it is placed at the edge"
    assert np.ptp(np.diff(points(svg, "line diagonal")[:, 0])) < 0.21, "it is curved, and sampled as finely at its left end as at its right"
    assert points(svg, "line diagonal")[0, 1] == pytest.approx(230 - 0.001 * 220, abs=0.1)


def test_a_line_goes_where_its_numbers_say() -> None:
    svg = chart(Curve("t", "x", "y", {"a": ([0, 0.5, 1], [1, 0.25, 0])}, diagonal=True))
    assert points(svg, "line s0").tolist() == [[56, 10], [202, 175], [348, 230]]
    assert points(svg, "line diagonal")[[0, -1]].tolist() == [[56, 230], [348, 10]]
    assert svg.count("<circle") == 3
    assert "legend" not in svg, "one line needs no name"


def test_lines_are_thinned_and_what_is_no_number_is_left_out() -> None:
    x = np.linspace(0, 1, 10_001)
    svg = chart(Curve("t", "x", "y", {"a": (x.tolist(), np.where(x == 0.5, np.nan, x).tolist())}))
    found = points(svg, "line s0")
    assert len(found) == 400
    assert found[[0, -1]].tolist() == [[56, 230], [348, 10]]


def test_twelve_lines_are_told_apart_and_more_are_not_hidden_silently() -> None:
    lines = {f"class {index}": ([0.0, 1.0], [0.0, float(index)]) for index in range(15)}
    svg = chart(Curve("t", "x", "y", {"empty": ([], []), **lines}))
    kinds = re.findall(r'<polyline class="([^"]+)"', svg)
    assert len(kinds) == len(set(kinds)) == 11
    assert "11 of 16 lines are shown; the others have no points or exceed the limit of 12 lines." in svg
    assert re.findall(r'<path class="([^"]+)" d="M0 4H24"/></svg>class \d+', svg) == kinds
    assert "<svg" not in chart(Curve("t", "x", "y", {"empty": ([], [])}))


def test_levels_show_rare_mistakes_and_rows_without_pictures_stay_empty() -> None:
    counts = np.array([[9_999, 1], [0, 0]])
    assert levels(counts).tolist() == [[10, 1], [0, 0]]


def test_a_small_matrix_is_a_table() -> None:
    page = "".join(confusion({"classes": ["cat", "dog"], "rows_true_columns_answered": [[8, 2], [0, 5]]}))
    assert '<td class="r9" title="cat, predicted cat: 8 of 10 (80.0%)">8</td>' in page
    assert '<td class="w4" title="cat, predicted dog: 2 of 10 (20.0%)">2</td>' in page
    assert "<td></td>" in page, "cells with a count of 0 are empty"
    assert "<img" not in page
    assert "all 1 pairs" in page
    assert "No classes were confused" in "".join(confusion({"classes": ["cat"], "rows_true_columns_answered": [[8]]}))


@pytest.mark.parametrize(
    ("classes", "side", "words"), [(50, 500, "each dot is one pair of classes"), (1_203, 401, "each dot is 3 × 3 pairs")]
)
def test_a_large_matrix_is_a_picture_and_the_worst_pairs(classes: int, side: int, words: str) -> None:
    counts = np.diag(np.full(classes, 10))
    counts[classes - 1, 0] = 5
    page = "".join(confusion({"classes": list(range(classes)), "rows_true_columns_answered": counts.tolist()}))
    assert words in page
    found = re.search(r'src="data:image/png;base64,([^"]+)"', page)
    assert found is not None
    image = cv2.imdecode(np.frombuffer(base64.b64decode(found[1]), np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    assert image.shape == (side, side, 3)
    assert image[0, 0, ::-1].tolist() == [0, 88, 160]
    assert image[-1, 0, 2] > image[-1, 0, 0], "wrong predictions are orange"
    assert image[0, -1].tolist() == [250, 248, 247]
    assert f'<tr><td>{classes - 1}</td><td>0</td><td class="n">5</td><td class="n">33.3% of 15</td></tr>' in page


def blank(height: int, width: int) -> NDArray[np.uint8]:
    return np.full((height, width, 3), 128, np.uint8)


def red(image: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return left, top, right and bottom of the pixels in the colour of the first kind of box."""
    rows, columns = np.nonzero((image == COLOURS[0]).all(-1))
    return np.array([columns.min(), rows.min(), columns.max(), rows.max()])


def test_small_boxes_are_enlarged_and_stand_where_they_are() -> None:
    box: Box = ((600.0, 300.0, 640.0, 320.0), "missed cat")
    whole, part = pictures(blank(480, 960), "a.png", [box], kinds_of([box[1]]))
    assert whole.image.shape == (SIDE // 2, SIDE, 3)
    assert red(whole.image) == pytest.approx(np.array([600, 300, 640, 320]) * SIDE / 960, abs=2)
    assert part.text == "enlarged: 72 × 72 of 960 × 480 pixels"
    assert red(part.image) == pytest.approx(np.array([16, 26, 56, 46]) * SIDE / 72, abs=2)


@pytest.mark.parametrize(
    "box", [(0.0, 0.0, 400.0, 100.0), (10.0, 10.0, 60.0, 300.0), (float("nan"), 0.0, 10.0, 10.0), (-1e12, -1e12, 1e12, 1e12)]
)
def test_large_boxes_and_absurd_ones_are_drawn_once(box: tuple[float, float, float, float]) -> None:
    drawn = pictures(blank(480, 960), "a.png", [(box, "true cat")], kinds_of(["true cat"]))
    assert [one.text for one in drawn] == ["a.png"]


def test_a_part_stays_inside_the_picture_however_thin() -> None:
    box: Box = ((955.0, 475.0, 960.0, 480.0), "missed cat")
    for image in (blank(480, 960), blank(1, 4_000), blank(4_000, 1)):
        for one in pictures(image, "a.png", [box], kinds_of([box[1]])):
            assert max(one.image.shape) == SIDE
            assert min(one.image.shape) >= 1


def test_a_kind_has_one_colour_throughout() -> None:
    assert kinds_of(["answered cat 0.93", "true cat", "answered dog 0.20"]) == {"answered": COLOURS[0], "true": COLOURS[1]}


def test_a_map_leaves_alone_what_is_cold() -> None:
    heat = np.zeros((32, 32), np.float32)
    heat[:, 20:] = 1
    found = overlaid(blank(32, 32), heat)
    assert (found[:, : SIDE // 2] == 128).all()
    red, _, blue = found[SIDE // 2, -5].tolist()
    assert red > 2 * blue, "red is hot"


@pytest.mark.parametrize("most", [200_000, 20_000, 3_000])
def test_pictures_fit_the_room_they_have(most: int) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (336, 336, 3), np.uint8)
    assert len(fitting_uri(noise, most)) <= most
    assert fitting_uri(blank(64, 64), most) == data_uri(blank(64, 64), 85), "a small image keeps its quality"
    assert fitting_uri(noise, 1).startswith("data:image/jpeg;base64,"), "the reduction stops at a minimum size"
