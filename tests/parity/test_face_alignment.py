"""Aligned faces against dlib's chips and facenet-pytorch's crops; the similarity transform against linear least squares."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import zoo
from zoo.errors import InputError, UnknownNameError
from zoo.images import decoding
from zoo.tasks.face.alignment.aligner import align, similarity, template_points, warp
from zoo.tasks.face.detection.faces import Wanted
from zoo.tasks.face.detection.mtcnn import MTCNN
from zoo.tasks.face.prediction.faces import Faces

pytestmark = pytest.mark.usefixtures("one_thread")
# dlib's five target points (corners of the eyes, and the nose) as fractions of the face box (get_face_chip_details)
DLIB_POINTS = np.array(
    [(0.8595674595992, 0.2134981538014), (0.6460604764104, 0.2289674387677), (0.1205750620789, 0.2137274526848),
     (0.3340850613712, 0.2290642403242), (0.4901123135679, 0.6277975316475)]
)  # fmt: skip
EYES = np.array([(30.0, 40), (70, 40), (50, 60), (35, 80), (65, 80)], np.float32)


def golden(shared_data: Path) -> list[tuple[str, np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Return name, ORL image, dlib's points in the image enlarged 3 times, dlib's chip and its descriptor."""
    kept = np.load(shared_data / "dlib-golden.npz")
    found = []
    for name, points, chip, descriptor in zip(kept["names"], kept["landmarks"], kept["chips"], kept["descriptors"], strict=True):
        if name.startswith("orl"):
            (file,) = (shared_data / "orl").glob(f"*/{name.removeprefix('orl ')}.pgm")
            found.append((str(name), decoding.read(file), points.astype(np.float64), chip, descriptor))
    assert len(found) == 8
    return found


def test_the_warp_gives_dlib_s_own_chips(shared_data: Path) -> None:
    target = (DLIB_POINTS + 0.25) / 1.5 * 150 - 0.5
    for name, image, points, chip, _ in golden(shared_data):
        enlarged = np.asarray(cv2.resize(image, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC), np.uint8)
        found = warp(enlarged, similarity(points, target), (150, 150))
        assert np.abs(found.astype(float) - chip).mean() < 2.5, name
        shifted = warp(enlarged, similarity(points + 2, target), (150, 150))  # a shift of two pixels of the enlarged image is detected
        assert np.abs(shifted.astype(float) - chip).mean() > 2.5, name


def test_faces_aligned_by_mtcnn_are_dlib_s_faces(dlib_model: zoo.Model, shared_data: Path) -> None:
    """MTCNN's landmarks differ from dlib's, but give nearly the same chip, and so an embedding near dlib's descriptor."""
    people = golden(shared_data)
    found = [
        cast(Faces, prediction).embeddings for prediction in zoo.predict(dlib_model, [image for _, image, *_ in people], faces="largest")
    ]
    rows = np.concatenate(found)
    own = np.linalg.norm(rows - np.stack([descriptor for *_, descriptor in people]), axis=1)
    assert own.max() < 0.25
    assert own.mean() < 0.2


def test_the_margin_crop_is_facenet_s(shared_data: Path) -> None:
    from facenet_pytorch import extract_face
    from PIL import Image

    image = decoding.read(shared_data / "portraits" / "multiface.jpg")
    found = MTCNN()(image)
    edge = np.array([-20.0, 500.4, 90.6, 700.0], np.float32)  # a face cut off at two edges
    for box in (*found.boxes, edge):
        theirs = extract_face(Image.fromarray(image), box.tolist(), image_size=160, margin=14).permute(1, 2, 0).numpy()
        ours = align(image, np.full((5, 2), np.nan, np.float32), box, "facenet", (160, 160))
        np.testing.assert_array_equal(ours, theirs.astype(np.uint8))


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_similarity_is_the_best_in_the_sense_of_least_squares(seed: int) -> None:
    rng = np.random.default_rng(seed)
    source, target = rng.uniform(0, 200, (5, 2)), rng.uniform(0, 100, (5, 2))
    # rotation times scale is (a, −b; b, a): linear in a, b and the translation
    rows = [row for x, y in source for row in ((x, -y, 1, 0), (y, x, 0, 1))]
    a, b, x, y = np.linalg.lstsq(np.array(rows), target.ravel(), rcond=None)[0]
    np.testing.assert_allclose(similarity(source, target), [[a, -b, x], [b, a, y]], rtol=1e-6, atol=1e-6)


def test_a_similarity_is_found_again_and_never_mirrors() -> None:
    turn = np.array([[0.6, -0.8, 12.0], [0.8, 0.6, -5.0]])
    moved = EYES @ turn[:, :2].T + turn[:, 2]
    np.testing.assert_allclose(similarity(EYES, moved), turn, atol=1e-9)
    mirrored = similarity(EYES, EYES * [-1, 1])
    assert np.linalg.det(mirrored[:, :2]) > 0
    with pytest.raises(InputError, match="its five landmarks coincide"):
        similarity(np.zeros((5, 2)), EYES)


def test_the_templates() -> None:
    arcface = template_points("arcface", (112, 112))
    assert arcface is not None
    np.testing.assert_allclose(arcface[0], (38.2946, 51.6963))
    double = template_points("arcface", (224, 224))
    assert double is not None
    np.testing.assert_allclose(double, arcface * 2)
    dlib = template_points("dlib", (150, 150))
    assert dlib is not None
    np.testing.assert_allclose(dlib[2], ((0.490127 + 0.25) / 1.5 * 150 - 0.5, (0.515625 + 0.25) / 1.5 * 150 - 0.5))
    assert template_points("facenet", (160, 160)) is None
    with pytest.raises(UnknownNameError, match="template of faces 'arcfase'"):
        template_points("arcfase", (112, 112))


@pytest.mark.parametrize("template", ["arcface", "dlib"])
@pytest.mark.parametrize("size", [64, 112])
def test_points_come_to_the_template_s_places(template: str, size: int) -> None:
    points = template_points(template, (size, size))
    assert points is not None
    dots = np.zeros((400, 300, 3), np.uint8)
    turn = np.array([[1.1, -0.4], [0.4, 1.1]]) * 130 / size  # the face is rotated, and larger than the crop
    places = (points @ turn.T + [60, 50]).astype(np.float32)
    for number, (x, y) in enumerate(places):
        cv2.circle(dots, (round(float(x)), round(float(y))), 3, (255, 255, 255) if number else (255, 0, 0), -1, cv2.LINE_AA)
    crop = align(dots, places, np.array([0, 0, 9, 9], np.float32), template, (size, size))
    assert crop.shape == (size, size, 3)
    for number, (x, y) in enumerate(points):
        around = crop[max(0, round(y) - 1) : round(y) + 2, max(0, round(x) - 1) : round(x) + 2].reshape(-1, 3).max(0)
        assert around[0] > 120
        assert (around[1] > 120) == bool(number), "the left eye is the red one"


def test_a_large_picture_is_halved_before_the_warp() -> None:
    """A pattern of single pixels becomes its mean; without the halving it would be sampled at single pixels."""
    chess = np.zeros((1024, 1024, 3), np.uint8)
    chess[::2, ::2] = chess[1::2, 1::2] = 255
    crop = warp(chess, np.array([[0.11, 0, 0], [0, 0.11, 0]]), (100, 100))
    assert np.abs(crop[10:-10, 10:-10].astype(float) - 127.5).max() < 3
    gradient = np.repeat(np.linspace(0, 255, 1024).astype(np.uint8)[None, :, None], 1024, 0).repeat(3, 2)
    small = warp(gradient, np.array([[0.2, 0, 0], [0, 0.2, 0]]), (200, 200))
    np.testing.assert_allclose(small[100, 10:190, 0], gradient[0, 50:950:5, 0], atol=2)  # the content hasn't shifted


def test_what_cant_be_aligned() -> None:
    image, box = np.zeros((50, 60, 3), np.uint8), np.array([10, 10, 30, 30], np.float32)
    with pytest.raises(InputError, match=r'template dlib aligns a face by five landmarks.*returns only boxes; use "mtcnn"'):
        align(image, np.full((5, 2), np.nan, np.float32), box, "dlib", (150, 150))
    with pytest.raises(InputError, match="lies outside the image of 60×50 pixels"):
        align(image, EYES, np.array([100, 10, 130, 30], np.float32), "facenet", (160, 160))
    assert align(image, EYES, np.array([-9, -9, 1.2, 1.2], np.float32), "facenet", (160, 160)).shape == (160, 160, 3)


def test_the_main_face_of_a_photo_is_found_upright(shared_data: Path) -> None:
    image = decoding.read(shared_data / "portraits" / "kate_siegel.jpg")
    found = Wanted("central").of(MTCNN(min_size=60)(image), (image.shape[0], image.shape[1]))
    crop = align(image, found.landmarks[0], found.boxes[0], "arcface", (112, 112))
    again = Wanted("largest").of(MTCNN()(crop), (112, 112))
    expected = template_points("arcface", (112, 112))
    assert expected is not None
    assert np.abs(again.landmarks[0] - expected).max() < 6
