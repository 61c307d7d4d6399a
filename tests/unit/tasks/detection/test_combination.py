"""Weighted boxes fusion, checked by hand, and boxes of mirrored images."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from zoo.tasks.detection.prediction.combination import BoxCombination, fuse

Answer = dict[str, NDArray[Any]]


def answer(*found: tuple[list[float], float, int]) -> Answer:
    return {
        "boxes": np.array([box for box, _, _ in found], np.float32).reshape(-1, 4),
        "scores": np.array([score for _, score, _ in found], np.float32),
        "labels": np.array([label for _, _, label in found], np.int64),
    }


NOTHING = answer()


def shown(answer: Any) -> list[Any]:
    return [
        (box.tolist(), pytest.approx(score), label)
        for box, score, label in zip(answer["boxes"], answer["scores"].tolist(), answer["labels"].tolist(), strict=True)
    ]


def test_two_boxes_of_one_object() -> None:
    """IoU 9/11; x1 is (0.6 · 0 + 0.2 · 1) / 0.8, and so on; the score is the mean."""
    fused = fuse([answer(([0, 0, 10, 10], 0.6, 1)), answer(([1, 0, 11, 10], 0.2, 1))])
    assert fused["boxes"] == pytest.approx(np.array([[0.25, 0, 10.25, 10]]))
    assert fused["scores"] == pytest.approx([0.4])
    assert (fused["labels"].tolist(), str(fused["boxes"].dtype), str(fused["scores"].dtype)) == ([1], "float32", "float32")


def test_what_one_of_three_found_counts_a_third() -> None:
    fused = fuse([answer(([0, 0, 10, 10], 0.9, 0)), NOTHING, NOTHING])
    assert shown(fused) == [([0, 0, 10, 10], pytest.approx(0.3), 0)]


def test_more_boxes_than_answers_count_as_one_from_each() -> None:
    """An answer with the same box twice doesn't raise the score above the mean."""
    twice = answer(([0, 0, 10, 10], 0.8, 0), ([0, 0, 10, 10], 0.6, 0))
    assert fuse([twice, answer(([0, 0, 10, 10], 0.4, 0))])["scores"] == pytest.approx([0.6])


def test_classes_and_boxes_apart_stay_apart() -> None:
    """An IoU of 1/3 is too low, and boxes of different classes are different objects."""
    fused = fuse([answer(([0, 0, 10, 10], 0.5, 0), ([0, 0, 10, 10], 0.4, 1)), answer(([5, 0, 15, 10], 0.6, 0))])
    assert shown(fused) == [([5, 0, 15, 10], 0.3, 0), ([0, 0, 10, 10], 0.25, 0), ([0, 0, 10, 10], 0.2, 1)]


def test_a_box_joins_the_one_that_it_overlaps_most() -> None:
    """Of [0, 10] and [4, 14], [3, 13] overlaps the second more (9/11 against 7/13): that one moves to (0.8 · 4 + 0.4 · 3) / 1.2."""
    fused = fuse([answer(([0, 0, 10, 10], 0.9, 0), ([4, 0, 14, 10], 0.8, 0)), answer(([3, 0, 13, 10], 0.4, 0))], iou=0.5)
    assert fused["boxes"][:, 0].tolist() == pytest.approx([11 / 3, 0])
    assert fused["scores"].tolist() == pytest.approx([0.6, 0.45])


def test_a_box_is_compared_with_the_fused_one_that_has_moved() -> None:
    """[4, 14] overlaps [0, 10] only by 6/14, but the fused box [1.5, 11.5] by 7.5/12.5 = 0.6."""
    chain = [answer(([0, 0, 10, 10], 0.9, 0)), answer(([3, 0, 13, 10], 0.9, 0)), answer(([4, 0, 14, 10], 0.1, 0))]
    assert len(fuse(chain, iou=0.53)["scores"]) == 1
    assert len(fuse([chain[0], chain[2]], iou=0.53)["scores"]) == 2


def test_nothing_found_by_anyone() -> None:
    fused = fuse([NOTHING, NOTHING])
    assert (fused["boxes"].shape, fused["scores"].shape, fused["labels"].shape) == ((0, 4), (0,), (0,))


def test_scores_of_nought_and_boxes_without_area() -> None:
    fused = fuse([answer(([2, 2, 2, 2], 0.0, 0)), answer(([2, 2, 2, 2], 0.0, 0))])
    assert shown(fused) == [([2, 2, 2, 2], 0, 0)] * 2


def test_boxes_come_back_from_the_mirror() -> None:
    back = BoxCombination().mirrored(answer(([1, 2, 4, 9], 0.5, 3)), (20, 11))
    assert shown(back) == [([7, 2, 10, 9], 0.5, 3)]
    assert shown(BoxCombination().mirrored(NOTHING, (20, 11))) == []


def test_labels_are_counted_by_the_ensembles_classes() -> None:
    moved = BoxCombination().recounted(answer(([0, 0, 1, 1], 0.5, 0), ([0, 0, 1, 1], 0.4, 2)), [2, 0, 1])
    assert moved["labels"].tolist() == [2, 1]
