"""The comparison with facenet-pytorch's pipeline: what it measures, its output and its errors."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from tests.pictures import write_picture
from zoo import Model
from zoo.benchmarks import face_pipeline
from zoo.benchmarks.face_pipeline import Answer, Comparison, PhotoCost, compare, main
from zoo.images import decoding

pytestmark = pytest.mark.usefixtures("one_thread")


def test_both_sides_answer_alike(shared_data: Path) -> None:
    image = decoding.read(shared_data / "portraits" / "multiface.jpg")
    small = np.asarray(cv2.resize(image, (600, 315), interpolation=cv2.INTER_AREA), np.uint8)
    black = np.zeros((170, 180, 3), np.uint8)
    comparison = compare([("group", small), ("empty", black)], 1)
    group, empty = comparison.photos
    assert (group.faces, empty.faces) == (6, 0)
    assert group.size_hw == (315, 600)
    assert 0 <= group.boxes < 0.01
    assert 0 < group.embeddings < 1e-3
    assert empty.boxes == empty.embeddings == 0
    assert min(group.theirs_ms, group.ours_ms) > 0


def test_the_model_is_compiled_for_another_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str, str]] = []

    def compiled(model: Model, engine: str, precision: str) -> Model:
        asked.append((model.config.backbone, engine, precision))
        return model

    monkeypatch.setattr(face_pipeline, "compile", compiled)
    (empty,) = compare([("empty", np.zeros((170, 180, 3), np.uint8))], 1, "openvino").photos
    assert (empty.faces, asked) == (0, [("inception_resnet_v1", "openvino", "fp32")])


def test_the_sides_take_turns_and_medians_count(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []

    def side(name: str, edge: float) -> Callable[[np.ndarray], Answer]:
        def answer(image: np.ndarray) -> Answer:
            order.append(name)
            return Answer(np.array([[0, 0, 9, edge]]), np.array([[1.0, 0]]))

        return answer

    def timed(call: Callable[[np.ndarray], Answer], image: np.ndarray) -> tuple[Answer, float]:
        answer = call(image)
        return answer, {"theirs": 100.0, "ours": 10.0}[order[-1]] + len(order)

    monkeypatch.setattr(face_pipeline, "timed", timed)
    cost = face_pipeline._photo("a", np.zeros((4, 5, 3), np.uint8), side("theirs", 9.0), side("ours", 8.25), 3)
    assert order == ["theirs", "ours", "ours", "theirs", "theirs", "ours", "ours", "theirs"]
    assert (cost.theirs_ms, cost.ours_ms) == (105_000.0, 16_000.0)  # of 104, 105, 108 and 13, 16, 17
    assert (cost.boxes, cost.embeddings, cost.faces) == (0.75, 0, 1)


def test_another_number_of_faces_is_no_agreement() -> None:
    one, none = Answer(np.zeros((1, 4)), np.ones((1, 2))), Answer(np.zeros((0, 4)), np.ones((0, 2)))
    cost = face_pipeline._photo("a", np.zeros((4, 5, 3), np.uint8), lambda image: one, lambda image: none, 1)
    assert cost.boxes == cost.embeddings == float("inf")


@pytest.mark.parametrize(("theirs", "boxes", "ratio", "met"), [(300.0, 0.5, 3.0, True), (150.0, 0.5, 1.5, False), (300.0, 1.5, 3.0, False)])
def test_what_is_promised_decides_the_exit_status(
    theirs: float,
    boxes: float,
    ratio: float,
    met: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_picture(tmp_path / "a.png", np.zeros((8, 9, 3), np.uint8))
    asked: list[tuple[str, int, int]] = []

    def compared(photos: list[tuple[str, np.ndarray]], rounds: int, engine: str) -> Comparison:
        assert engine == "eager"
        asked.append((photos[0][0], rounds, torch.get_num_threads()))
        return Comparison((PhotoCost("a.jpg", (40, 60), 1, theirs, 100.0, boxes, 1e-6),))

    monkeypatch.setattr(face_pipeline, "compare", compared)
    words = ["--photos", str(tmp_path), "--rounds", "4", "--threads", "2"]
    before = torch.get_num_threads()
    assert main(words) == (0 if met else 1)
    text = capsys.readouterr().out
    assert f"{ratio:.2f} times the photos per second" in text
    assert ("not met" not in text) == met
    assert asked == [("a.png", 4, 2)]
    assert torch.get_num_threads() == before
    main([*words, "--json"])
    found = json.loads(capsys.readouterr().out)
    assert (found["ratio"], found["boxes"], found["met"], found["rounds"]) == (ratio, boxes, met, 4)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--photos", "nowhere"], "nowhere is not a folder; .* --photos"),
        (["--photos", "empty"], "empty contains no images"),
        (["--photos", "photos", "--rounds", "0"], "rounds is 0; expected a number above 0"),
        (["--photos", "photos", "--threads", "0"], "threads is 0"),
    ],
)
def test_what_cant_be_measured(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    write_picture(tmp_path / "photos" / "a.png", np.zeros((8, 9, 3), np.uint8))
    assert main(words) == 2
    assert re.search(message, capsys.readouterr().err)
