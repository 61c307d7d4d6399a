"""Example samples of every task: answers next to the ground truth."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from zoo.data.dataset import Dataset, Record
from zoo.task.answers import drawn
from zoo.task.contract import TASKS, get_task

PIXEL = np.zeros((1, 1, 3), np.uint8)


def records(*targets: Any) -> list[Record]:
    return [Record(f"k{place:03d}", PIXEL, target) for place, target in enumerate(targets)]


def test_the_same_samples_are_drawn_wherever_they_stand() -> None:
    some = records(*range(40))
    first = drawn(some, 12)
    assert [record.key for record in first] == sorted(record.key for record in first), "records must keep the order of the dataset"
    assert {record.key for record in drawn(some[::-1], 12)} == {record.key for record in first}
    assert drawn(some, 100) == some
    assert [record.key for record in first] != [record.key for record in some[:12]]
    assert len(drawn([Record("\udcff", PIXEL, 0)], 1)) == 1, "file names may contain bytes that aren't valid text"


def test_a_classifier_s_answer() -> None:
    logits = [np.array([0.0, np.log(3.0), -np.inf], np.float32), np.array([5.0, 5.0, 5.0], np.float32), np.zeros(3, np.float32)]
    shown = get_task("classification").answers.examples(logits, [1, 2, None], ["a", "b", "c"], ("x", "y", "z"), 12)
    assert [(one.keys, one.answer, one.truth, one.right) for one in shown] == [
        (("a",), "y (75%)", "y", True),
        (("b",), "x (33%)", "z", False),
        (("c",), "x (33%)", "", None),
    ]
    assert len(get_task("classification").answers.examples(logits, [1, 2, None], ["a", "b", "c"], ("x", "y", "z"), 2)) == 2


def boxes(*rows: tuple[float, ...]) -> NDArray[np.float32]:
    return np.array(rows, np.float32).reshape(-1, 4)


def test_a_detector_s_answers_are_counted() -> None:
    square, far = (10.0, 10.0, 30.0, 30.0), (50.0, 50.0, 70.0, 70.0)
    targets = [
        {"boxes": boxes(square, far), "labels": np.array([0, 1])},
        {"boxes": boxes(square), "labels": np.array([0])},
        {"boxes": boxes(), "labels": np.array([], np.int64)},
        {"boxes": boxes(square), "labels": np.array([0]), "difficult": np.array([True])},
    ]
    answers = [
        # a correct box, a correct box with the wrong class, and an uncertain box
        {"boxes": boxes(square, far, far), "scores": np.array([0.9, 0.8, 0.29], np.float32), "labels": np.array([0, 0, 1])},
        {"boxes": boxes((11, 10, 30, 30)), "scores": np.array([0.5], np.float32), "labels": np.array([0])},
        {"boxes": boxes(), "scores": np.array([], np.float32), "labels": np.array([], np.int64)},
        {"boxes": boxes(), "scores": np.array([], np.float32), "labels": np.array([], np.int64)},
    ]
    shown = get_task("detection").answers.examples(answers, targets, ["a", "b", "c", "d"], ("cat", "dog"), 12)
    assert [(one.answer, one.truth, one.right) for one in shown] == [
        ("cat × 2: 1 of 2 found, 1 wrong", "cat × 1, dog × 1", False),
        ("cat × 1: 1 of 1 found", "cat × 1", True),
        ("nothing: 0 of 0 found", "nothing", True),
        ("nothing: 0 of 0 found", "cat × 1", True),
    ]
    assert shown[0].boxes_xyxy == ((square, "true cat"), (far, "true dog"), (square, "predicted cat 0.90"), (far, "predicted cat 0.80"))


def test_a_face_beside_the_most_similar_one() -> None:
    face = get_task("face")
    rows = [np.array(row, np.float32) for row in ((2, 0), (1, 0.1), (0, 1), (0.1, 1), (-1, 0))]
    shown = face.answers.examples(rows, [7, 7, 8, 9, None], list("abcde"), (), 12)
    assert [(one.keys, one.truth, one.right) for one in shown] == [
        (("a", "b"), "the same person", True),  # one image of each person comes first
        (("c", "d"), "another person", None),  # the only image of this person
        (("d", "c"), "another person", None),
        (("e", "c"), "", None),
        (("b", "a"), "the same person", True),
    ]
    assert shown[0].answer == "nearest of 4 others, cosine 1.00"
    assert [one.keys[0] for one in face.answers.examples(rows, [7, 7, 8, 9, None], list("abcde"), (), 2)] == ["a", "c"]
    (wrong, *_) = face.answers.examples([rows[0], rows[2], rows[1]], [7, 7, 8], list("abc"), (), 12)
    assert (wrong.keys, wrong.truth, wrong.right) == (("a", "c"), "another person", False)
    assert face.answers.examples(rows[:1], [7], ["a"], (), 12) == []
    blank = face.answers.examples([np.zeros(2, np.float32)] * 2, [1, 2], list("ab"), (), 12)
    assert blank[0].answer == "nearest of 1 others, cosine 0.00"


def test_faces_are_compared_among_people_with_several_pictures() -> None:
    face = get_task("face")
    several = Dataset("d", tuple(records(*([0] * 9), 1, 2, 2, None, None)))
    chosen = face.answers.example_records(several, 12)
    assert sorted(record.target for record in chosen) == [0, 0, 0, 0, 2, 2]
    many = face.answers.example_records(Dataset("d", tuple(records(*(place // 4 for place in range(400))))), 12)
    assert len(many) == 120
    alone = Dataset("d", tuple(records(*range(200))))
    assert len(face.answers.example_records(alone, 12)) == 120


@pytest.mark.parametrize("task", TASKS.names())
def test_nothing_comes_of_nothing(task: str) -> None:
    assert get_task(task).answers.examples([], [], [], ("a", "b"), 12) == []
