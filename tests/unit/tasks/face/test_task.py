"""Predictions of the face task, and the task with a real backbone."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import zoo
from zoo.data.dataset import Dataset, Record
from zoo.task.contract import get_task
from zoo.tasks.face.prediction.faces import Faces

IMAGE = np.full((40, 60, 3), 128, np.uint8)


def faces(**changes: Any) -> Faces:
    landmarks = np.full((2, 5, 2), np.nan, np.float32)
    landmarks[0] = [[8, 9], [20, 9], [14, 15], [9, 20], [19, 20]]
    values: dict[str, Any] = {
        "boxes": np.array([[4, 2, 24, 30], [30, 5, 50, 35]], np.float32),
        "scores": np.array([0.9, 0.5], np.float32),
        "landmarks": landmarks,
        "embeddings": np.eye(2, 3, dtype=np.float32),
    }
    return Faces("a.jpg", IMAGE, **{**values, **changes})


def test_faces_as_json() -> None:
    answer = faces().to_dict()
    assert answer["key"] == "a.jpg"
    assert answer["faces"][0]["box"] == [4, 2, 24, 30]
    assert answer["faces"][0]["landmarks"][2] == [14, 15]
    assert answer["faces"][1]["landmarks"] == [None] * 5
    assert answer["faces"][1]["embedding"] == [0, 1, 0]
    json.dumps(answer, allow_nan=False)


def test_faces_can_not_be_changed() -> None:
    with pytest.raises(ValueError, match="read-only"):
        faces().boxes[0, 0] = 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"boxes": np.zeros((1, 4), np.float32)}, r"boxes has the shape \(1, 4\); expected \(2, 4\)"),
        ({"landmarks": np.zeros((2, 4, 2), np.float32)}, r"landmarks has the shape \(2, 4, 2\)"),
        ({"embeddings": np.zeros((3, 3), np.float32)}, r"embeddings has the shape \(3, 3\)"),
        ({"embeddings": np.full((2, 3), np.nan, np.float32)}, "embeddings of a.jpg holds values that are not finite"),
        ({"scores": np.array([0.1, 0.2], np.float32)}, "scores are not in descending order"),
    ],
)
def test_arrays_that_do_not_belong_together(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        faces(**changes)


def test_boxes_and_landmarks_are_drawn() -> None:
    drawn = np.asarray(faces().plot())
    enlarged = -(-256 // 60)
    assert drawn.shape[1] >= 60 * enlarged
    assert drawn.shape[0] > 40 * enlarged  # the caption
    pixels = drawn[: 40 * enlarged : enlarged, : 60 * enlarged : enlarged]
    assert pixels.shape == (40, 60, 3)
    changed = (pixels != 128).any(2)
    assert changed[2, 4:24].all()  # top side
    assert changed[2:30, 23].all()  # right side: the last pixel inside
    assert not changed[2:30, 24].any()
    assert changed[15, 14]  # nose
    assert not changed[20, 40]  # no landmarks known there
    assert (IMAGE == 128).all()


def test_without_faces_the_picture_is_drawn_as_it_is() -> None:
    empty = faces(**{name: getattr(faces(), name)[:0].copy() for name in ("boxes", "scores", "landmarks", "embeddings")})
    assert len(empty) == 0
    assert empty.to_dict()["faces"] == []
    assert (np.asarray(empty.plot())[:100, :100] == 128).all()


def test_a_prediction_is_the_whole_picture() -> None:
    answer = get_task("face").answers.prediction(np.array([0.6, 0.8], np.float32), IMAGE, "a.jpg", ())
    assert isinstance(answer, Faces)
    assert answer.boxes.tolist() == [[0, 0, 60, 40]]
    assert answer.scores.tolist() == [1]
    assert np.isnan(answer.landmarks).all()
    assert answer.embeddings.tolist() == [pytest.approx([0.6, 0.8])]


def test_targets_and_answers_change_form() -> None:
    task = get_task("face")
    targets = task.data.collate_targets([3, 0])
    assert targets.dtype == torch.int64
    assert targets.tolist() == [3, 0]
    rows = task.answers.split(torch.eye(2, 4, dtype=torch.bfloat16))
    assert [row.dtype for row in rows] == [np.float32] * 2
    assert rows[1].tolist() == [0, 1, 0, 0]


def test_relabelling_counts_identities_anew() -> None:
    data = Dataset("two", (Record("a", IMAGE, 0), Record("b", IMAGE, 1)), ("ann", "bob"))
    moved = get_task("face").data.relabel(data, [2, 0], ("bob", "eve", "ann"))
    assert [record.target for record in moved.records] == [2, 0]
    assert moved.classes == ("bob", "eve", "ann")


@pytest.fixture(scope="module")
def model() -> zoo.Model:
    torch.manual_seed(0)
    return zoo.build("resnet18", task="face", num_classes=3, image_size=64, embedding_size=32)


def test_people_unknown_to_the_model_are_evaluated_among_themselves(model: zoo.Model) -> None:
    scores = zoo.evaluate(model, "demo:faces?people=8&per_person=4", batch_size=5)
    assert scores.n == scores.expected == 32
    assert scores.details["identities"] == 8
    assert scores.details["folds"] == 8
    assert 0 < (scores["accuracy"] or 0) < 1
    assert 0.5 < (scores["auc"] or 0) < 1


def test_predictions_are_of_unit_length(model: zoo.Model) -> None:
    answers = list(zoo.predict(model, [IMAGE, IMAGE[:30]]))
    assert [np.linalg.norm(answer.embeddings) for answer in answers if isinstance(answer, Faces)] == pytest.approx([1, 1])


def test_saved_and_loaded_embeddings_are_the_same(model: zoo.Model, tmp_path: Path) -> None:
    zoo.save(model, tmp_path / "saved")
    again = zoo.load(tmp_path / "saved")
    # another layout in memory, as evaluation leaves behind, rounds differently on some processors
    model = copy.deepcopy(model).to(memory_format=torch.contiguous_format)
    pictures = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert again.metadata["distance"] == "cosine"
    assert torch.equal(again.eval()(pictures), model.eval()(pictures))
