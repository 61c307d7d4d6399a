"""MTCNN compared with facenet-pytorch's implementation, on real photos."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from zoo.images import decoding
from zoo.kernels.library import library
from zoo.tasks.face.detection.faces import Wanted
from zoo.tasks.face.detection.integral import AreaSums
from zoo.tasks.face.detection.mtcnn import MTCNN, _distinct
from zoo.tasks.face.detection.networks import FirstKernels, PReLUStack, networks

pytestmark = pytest.mark.usefixtures("one_thread")
PIXEL = 0.01  # tolerance in pixels
FACES = {"angelina_jolie": 1, "kate_siegel": 1, "multiface": 6, "paul_rudd": 1, "shea_whigham": 1}


@pytest.fixture(scope="module")
def theirs() -> Any:
    from facenet_pytorch import MTCNN as Theirs

    return Theirs(keep_all=True)


@pytest.fixture(params=["kernels", "torch"])
def by(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The implementation under test: kernels, or torch and NumPy as without a compiler."""
    if request.param == "kernels" and library("prelu_networks") is None:
        pytest.skip("the kernels need Linux and a C++ compiler (g++)")
    if request.param == "torch":
        for module in ("integral", "networks"):
            monkeypatch.setattr(f"zoo.tasks.face.detection.{module}.library", lambda name: None)
    networks.cache_clear()
    yield request.param
    networks.cache_clear()


def test_the_networks_are_those_that_are_asked_for(by: str) -> None:
    assert isinstance(networks().first, FirstKernels) == (by == "kernels")
    assert any(isinstance(module, PReLUStack) for module in networks().third.modules()) == (by == "kernels")


def sorted_answer(theirs: Any, image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy's warning about ragged arrays
        boxes, scores, points = theirs.detect(image, landmarks=True)
    order = np.argsort(-scores.astype(np.float64), kind="stable")
    boxes, scores, points = (np.asarray(part[order], np.float64) for part in (boxes, scores, points))
    return boxes, scores, points


@pytest.mark.parametrize("name", FACES)
def test_the_same_boxes_points_and_scores(by: str, shared_data: Path, theirs: Any, name: str) -> None:
    image = decoding.read(shared_data / "portraits" / f"{name}.jpg")
    if name not in ("kate_siegel", "multiface"):  # two images at full size are enough
        image = np.asarray(cv2.resize(image, None, fx=0.45, fy=0.45, interpolation=cv2.INTER_AREA), np.uint8)
    boxes, scores, points = sorted_answer(theirs, image)
    ours = MTCNN(threshold=0.7)(image)
    assert len(ours) == len(boxes)
    np.testing.assert_allclose(ours.boxes, boxes, atol=PIXEL)
    np.testing.assert_allclose(ours.landmarks, points, atol=PIXEL)
    np.testing.assert_allclose(ours.scores, scores, atol=1e-5)


@pytest.mark.parametrize(
    ("size_hw", "settings"), [((171, 243), {}), ((200, 161), {"min_size": 31.0}), ((333, 250), {"factor": 0.6, "candidates": (0.5, 0.5)})]
)
def test_odd_sizes_and_other_settings(
    by: str, shared_data: Path, size_hw: tuple[int, int], settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from facenet_pytorch import MTCNN as Theirs

    image = decoding.read(shared_data / "portraits" / "multiface.jpg")
    small = np.asarray(cv2.resize(image, size_hw[::-1], interpolation=cv2.INTER_AREA), np.uint8)
    settings = dict(settings)
    first, second = settings.pop("candidates", (0.6, 0.7))
    monkeypatch.setattr("zoo.tasks.face.detection.mtcnn._CANDIDATE_SCORES", (first, second))
    theirs = Theirs(
        keep_all=True, min_face_size=settings.get("min_size", 20), thresholds=[first, second, 0.3], factor=settings.get("factor", 0.709)
    )
    boxes, scores, points = sorted_answer(theirs, small)
    ours = MTCNN(threshold=0.3, **settings)(small)
    assert len(ours) == len(boxes) > 0
    np.testing.assert_allclose(ours.boxes, boxes, atol=PIXEL)
    np.testing.assert_allclose(ours.landmarks, points, atol=PIXEL)
    np.testing.assert_allclose(ours.scores, scores, atol=1e-4)


@pytest.mark.parametrize("factor", [0.709, 0.9])  # with 0.9, boxes of two scales cover the same face
def test_as_many_candidates_on_the_way(by: str, shared_data: Path, factor: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second and third networks get the same number of candidates: none is lost or duplicated unnoticed by the results."""
    from facenet_pytorch import MTCNN as Theirs
    from facenet_pytorch.models.utils import detect_face

    seen: dict[str, list[int]] = {"theirs": [], "ours": []}
    process, crops = detect_face.fixed_batch_process, AreaSums.crops

    def processed(pixels: torch.Tensor, network: Any) -> Any:
        seen["theirs"] += [pixels.shape[-1]] * len(pixels)
        return process(pixels, network)

    def cropped(self: AreaSums, boxes: np.ndarray, side: int) -> np.ndarray:
        seen["ours"] += [side] * len(boxes)
        return crops(self, boxes, side)

    monkeypatch.setattr(detect_face, "fixed_batch_process", processed)
    monkeypatch.setattr(AreaSums, "crops", cropped)
    monkeypatch.setattr("zoo.tasks.face.detection.mtcnn._BAND", 1)  # bands of eight rows; no row may be lost between them
    image = decoding.read(shared_data / "portraits" / "multiface.jpg")
    small = np.asarray(cv2.resize(image, (601, 317), interpolation=cv2.INTER_AREA), np.uint8)
    sorted_answer(Theirs(keep_all=True, factor=factor), small)
    MTCNN(threshold=0.7, factor=factor)(small)
    assert seen["ours"] == seen["theirs"]
    assert {24, 48} == set(seen["ours"])


def test_a_box_within_a_better_one_is_the_same_face() -> None:
    boxes = torch.tensor([[10, 10, 20, 20, 0.9], [0, 0, 100, 100, 0.99], [90, 90, 130, 130, 0.8], [300, 300, 340, 340, 0.95]])
    # the first lies inside the second, with a hundredth of its area; the third shares a sixteenth of its area with it
    assert _distinct(boxes).tolist() == [1, 3, 2]
    assert _distinct(torch.empty(0, 5)).tolist() == []


@pytest.mark.parametrize("name", FACES)
def test_every_face_of_the_portraits_and_no_other(shared_data: Path, name: str) -> None:
    image = decoding.read(shared_data / "portraits" / f"{name}.jpg")
    found = MTCNN(min_size=60)(image)
    assert len(found) == FACES[name]
    assert found.scores.min() > 0.99
    left, right, nose, *mouth = (found.landmarks[:, point] for point in range(5))
    assert (left[:, 0] < right[:, 0]).all()
    assert (nose[:, 1] < np.minimum(mouth[0][:, 1], mouth[1][:, 1])).all()
    assert (mouth[0][:, 0] < mouth[1][:, 0]).all()


def test_a_small_picture_is_enlarged_and_answered_in_its_own_pixels(shared_data: Path) -> None:
    """Landmarks agree with those in the large photo within two pixels of the small one, the less exact boxes within five."""
    large = decoding.read(shared_data / "portraits" / "paul_rudd.jpg")[:2040, :1630]
    truth = MTCNN(min_size=200)(large)
    scale = 13
    small = np.asarray(cv2.resize(large, (large.shape[1] // scale, large.shape[0] // scale), interpolation=cv2.INTER_AREA), np.uint8)
    found = MTCNN()(small)
    assert len(found) == len(truth) == 1
    assert max(small.shape[:2]) < 160
    assert np.abs(found.landmarks * scale + (scale - 1) / 2 - truth.landmarks).max() < 2 * scale
    assert np.abs(found.boxes * scale - truth.boxes).max() < 5 * scale
    by_hand = cv2.resize(small, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC)
    by_hand = cv2.copyMakeBorder(by_hand, 30, 30, 30, 30, cv2.BORDER_REPLICATE)
    prepared = MTCNN(min_size=60, enlarge=1, border=0)(np.asarray(by_hand, np.uint8))
    np.testing.assert_allclose(found.boxes * 3 + 30, prepared.boxes, atol=1e-3)
    np.testing.assert_allclose(found.landmarks * 3 + 1 + 30, prepared.landmarks, atol=1e-3)  # pixel 0 becomes pixels 0, 1 and 2


@pytest.mark.slow
def test_every_face_of_orl(shared_data: Path) -> None:
    files = sorted((shared_data / "orl").glob("*/*/*.pgm"))
    assert len(files) == 400
    finder = MTCNN()
    for file in files:
        image = decoding.read(file)
        found = Wanted("largest").of(finder(image), (image.shape[0], image.shape[1]))
        assert len(found) == 1, file
        assert found.boxes[0, 2] - found.boxes[0, 0] > 35, file
