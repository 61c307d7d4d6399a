"""Quality measures of face photos, their limits, and the reasons for rejecting a photo."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from zoo.errors import InputError
from zoo.images import decoding
from zoo.tasks.face.detection.mtcnn import MTCNN
from zoo.tasks.face.detection.quality import Limits, Quality, measure

UPRIGHT = np.array([(80, 80), (120, 80), (100, 100), (85, 120), (115, 120)], np.float32)
BOX = np.array([60, 50, 140, 150], np.float32)
GOOD = Quality(40, 80, 500, 120, 40, 0, 0, 0, 0.99, 1)


def noise(low: int = 60, high: int = 200) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(low, high, (200, 200, 3), np.uint8)


def test_what_is_measured() -> None:
    image = noise()
    found = measure(image, BOX, UPRIGHT, 0.97)
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[50:150, 60:140]
    assert (found.eye_distance, found.side, found.confidence, found.inside) == (40, 80, 0.97, 1)
    assert (found.yaw, found.pitch, found.roll) == pytest.approx((0, 0, 0))
    assert found.brightness == pytest.approx(grey.mean())
    assert found.contrast == pytest.approx(grey.std())
    assert found.problems(Limits()) == ()
    assert set(asdict(found)) == set(Quality.__dataclass_fields__)


def test_a_dim_photo_is_as_sharp_as_a_bright_one() -> None:
    image = noise(0, 256)
    bright, dim = (measure(picture, BOX, UPRIGHT, 1) for picture in (image, image // 4 + 20))
    assert dim.contrast < 0.3 * bright.contrast
    assert dim.sharpness == pytest.approx(bright.sharpness, rel=0.05)


@pytest.mark.parametrize("degrees", [-170, -30, 0, 20, 90])
@pytest.mark.parametrize("scale", [0.5, 3.0])
def test_pose_is_that_of_the_face_however_it_is_turned_or_scaled(degrees: float, scale: float) -> None:
    aside = UPRIGHT.copy()
    aside[2] += (12, -8)  # move the nose to the right and up
    angle = np.deg2rad(degrees)
    turned = (aside * scale) @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    found = measure(noise(), BOX, turned.astype(np.float32), 1)
    assert found.eye_distance == pytest.approx(40 * scale, rel=1e-5)
    assert found.roll == pytest.approx(degrees, abs=1e-3)
    assert found.yaw == pytest.approx(12 / 40, abs=1e-5)
    assert found.pitch == pytest.approx(12 / 40 - 0.5, abs=1e-5)


def test_a_face_at_the_edge_is_measured_by_its_landmarks_and_not_by_a_box_that_was_cut() -> None:
    left = UPRIGHT - (80, 0)  # one eye lies on the edge of the image
    cut = np.array([0, 50, 60, 150], np.float32)
    found = measure(noise(), cut, left, 1)
    side = 1.8 * 40
    assert found.inside == pytest.approx((20 + side / 2) / side)
    assert [problem.split(" (")[0] for problem in replace(found, sharpness=500).problems(Limits(inside=0.8))] == [
        "the face is cut off at the image's edge"
    ]


def test_without_landmarks_the_box_is_what_there_is() -> None:
    unknown = np.full((5, 2), np.nan, np.float32)
    found = measure(noise(), np.array([150, 150, 250, 250], np.float32), unknown, 1)
    assert (found.eye_distance, found.yaw, found.pitch, found.roll) == (None, None, None, None)
    assert found.inside == pytest.approx(0.25)
    assert found.problems(Limits(inside=0.2)) == ()


@pytest.mark.parametrize("box", [(300, 300, 400, 400), (50, 50, 50, 50), (-90, -90, -10, -10)])
def test_a_box_beside_the_picture_is_a_black_one(box: tuple[float, ...]) -> None:
    found = measure(noise(), np.array(box, np.float32), np.full((5, 2), np.nan, np.float32), 1)
    assert (found.inside, found.brightness, found.contrast, found.sharpness) == (0, 0, 0, 0)


def test_points_on_one_spot_have_no_pose() -> None:
    found = measure(noise(), BOX, np.full((5, 2), 50, np.float32), 1)
    assert (found.eye_distance, found.yaw, found.pitch, found.roll, found.inside) == (0, 0, 0, 0, 0)
    flat = UPRIGHT.copy()
    flat[3:, 1] = 80  # eyes and mouth at one height
    assert measure(noise(), BOX, flat, 1).pitch == 0


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"inside": 0.5}, r"the face is cut off at the image's edge \(fraction inside the image\): 0.5, expected 0.75 or more"),
        ({"eye_distance": 12}, r"the face is too small \(pixels between the eyes\): 12, expected 20 or more"),
        ({"side": 30}, r"the face is too small \(shorter side of its box, pixels\): 30, expected 40 or more"),
        ({"sharpness": 8}, r"the face is blurred \(sharpness\): 8, expected 40 or more"),
        ({"brightness": 3}, r"the face is too dark \(mean grey level\): 3, expected 25 or more"),
        ({"brightness": 250}, r"the face is too bright \(grey levels below white\): 5, expected 25 or more"),
        ({"contrast": 2}, r"the face has too little contrast \(standard deviation of grey levels\): 2, expected 12 or more"),
        ({"yaw": -0.5}, r"the face looks to the side \(yaw, eye distances\): -0.5, expected -0.35 to 0.35"),
        ({"pitch": 0.4}, r"the face looks up or down \(pitch\): 0.4, expected -0.3 to 0.3"),
        ({"roll": 90}, r"the head is tilted \(roll, degrees\): 90, expected -45 to 45"),
        ({"confidence": 0.7}, r"the detection may not be a face \(confidence\): 0.7, expected 0.9 or more"),
    ],
)
def test_each_limit_has_its_reason(change: dict[str, float], problem: str) -> None:
    import re

    found = replace(GOOD, **change).problems(Limits())
    assert len(found) == 1
    assert re.fullmatch(problem, found[0])
    assert GOOD.problems(Limits()) == ()
    loose = Limits(0, 0, 0, 0, 0, 9, 9, 180, 0, 0)
    assert replace(GOOD, **change).problems(loose) == ()


def test_limits_that_can_not_be() -> None:
    with pytest.raises(InputError, match=r"quality: the limit sharpness is -1; expected 0 or more"):
        Limits(sharpness=-1)
    with pytest.raises(InputError, match=r"quality: the limit yaw is nan; expected 0 or more"):
        Limits(yaw=float("nan"))


def test_photos_of_orl_pass_and_damaged_ones_do_not(shared_data: Path) -> None:
    find = MTCNN()
    for name in ("train/s1/1", "train/s9/6", "test/s30/2", "test/s40/8"):
        image = decoding.read(shared_data / "orl" / f"{name}.pgm")
        found = find(image)
        box, points = found.boxes[0], found.landmarks[0]
        assert measure(image, box, points, 0.99).problems(Limits()) == ()
        damaged: dict[str, NDArray[Any]] = {
            "blurred": cv2.GaussianBlur(image, (0, 0), 2.5),
            "too dark": (image * 0.1).astype(np.uint8),
            "too bright": np.clip(image * 8.0, 0, 255).astype(np.uint8),
            "too little contrast": (image * 0.1 + 120).astype(np.uint8),
        }
        for reason, picture in damaged.items():
            assert any(reason in problem for problem in measure(picture, box, points, 0.99).problems(Limits())), reason
        small = cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        assert any("too small" in problem for problem in measure(np.asarray(small, np.uint8), box / 2, points / 2, 0.99).problems(Limits()))
