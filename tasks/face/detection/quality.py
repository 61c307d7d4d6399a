"""How good a photo of a face is, by what makes recognition fail: small, blurred, turned away, cut off, too dark or too bright.

Measured on the face alone, in the picture as it came. All values are plain numbers with a unit, kept with every enrolled face, so that
other limits can be set later. The limits are those that ORL's 400 photos and the portraits pass and that damaged copies of them don't
(`tests/unit/test_face_quality.py`); five landmarks say little of pitch, which is why its limits are wide.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from zoo.errors import InputError

_SIDE = 112  # pixels that a face is scaled to before its sharpness is measured, so that large faces aren't smoother than small ones
_FACE = 1.8  # side of a face's square from brow to chin, in distances of the eyes


@dataclass(frozen=True)
class Limits:
    """What a photo must have to be enrolled.

    Attributes:
        eye_distance: pixels between the eyes, at least; dlib's network sees them 40 pixels apart, ArcFace's 35.
        side: pixels of the box's shorter side, at least.
        sharpness: at least; see `Quality`.
        brightness: at least, and at most 255 less this.
        contrast: at least.
        yaw: at most, to either side.
        pitch: at most, up or down.
        roll: degrees at most, to either side; aligned crops are turned upright, so this is about heads that lie.
        confidence: of the finder, at least.
        inside: part of the face that the picture holds, at least.
    """

    eye_distance: float = 20.0
    side: float = 40.0
    sharpness: float = 40.0
    brightness: float = 25.0
    contrast: float = 12.0
    yaw: float = 0.35
    pitch: float = 0.3
    roll: float = 45.0
    confidence: float = 0.9
    inside: float = 0.75

    def __post_init__(self) -> None:
        """Refuse limits that can't be meant.

        Raises:
            InputError: a limit that is negative or not a number.
        """
        for name, value in asdict(self).items():
            if not value >= 0:
                raise InputError(f"quality: the limit {name} is {value}; expected 0 or more")


@dataclass(frozen=True)
class Quality:
    """What is measured of one face; None where landmarks are needed and unknown.

    Attributes:
        eye_distance: pixels between the eyes.
        side: pixels of the box's shorter side.
        sharpness: variance of the Laplacian of the grey face, scaled to 112 pixels and to a standard deviation of 64, so that a dim
            photo doesn't count as blurred (Pech-Pacheco et al. 2000, Diatom autofocusing in brightfield microscopy).
        brightness: mean grey level, 0–255.
        contrast: standard deviation of the grey levels.
        yaw: how far the nose is from the middle between the eyes, to the right in the picture, in eye distances; 0.5 is above an eye.
        pitch: where the nose is between eyes and mouth, 0 in the middle, 0.5 at the height of the mouth.
        roll: degrees by which the line of the eyes is turned, clockwise.
        confidence: of the finder, 0–1.
        inside: part of the face that the picture holds, 0–1.
    """

    eye_distance: float | None
    side: float
    sharpness: float
    brightness: float
    contrast: float
    yaw: float | None
    pitch: float | None
    roll: float | None
    confidence: float
    inside: float

    def to_dict(self) -> dict[str, float | None]:
        """Return the values by name."""
        return asdict(self)

    def problems(self, limits: Limits) -> tuple[str, ...]:
        """Return why the photo is not good enough, in words with the value and the limit; empty where it is."""
        found = []

        def least(value: float | None, limit: float, what: str) -> None:
            if value is not None and value < limit:
                found.append(f"{what}: {value:.3g}, expected {limit:g} or more")

        def most(value: float | None, limit: float, what: str) -> None:
            if value is not None and abs(value) > limit:
                found.append(f"{what}: {value:.3g}, expected at most {limit:g} to either side")

        least(self.inside, limits.inside, "the face is cut off at the picture's edge (part inside)")
        least(self.eye_distance, limits.eye_distance, "the face is too small (pixels between the eyes)")
        least(self.side, limits.side, "the face is too small (pixels of its box)")
        least(self.brightness, limits.brightness, "the face is too dark (mean grey level)")
        least(255 - self.brightness, limits.brightness, "the face is too bright (grey levels below white)")
        least(self.contrast, limits.contrast, "the face has too little contrast (deviation of grey levels)")
        least(self.sharpness, limits.sharpness, "the face is blurred (sharpness)")
        most(self.yaw, limits.yaw, "the face looks to the side (yaw, eye distances)")
        most(self.pitch, limits.pitch, "the face looks up or down (pitch)")
        most(self.roll, limits.roll, "the head is tilted (roll, degrees)")
        least(self.confidence, limits.confidence, "it is not sure that this is a face (confidence)")
        return tuple(found)


def measure(image: NDArray[np.uint8], box: NDArray[np.floating], landmarks: NDArray[np.floating], confidence: float) -> Quality:
    """Measure one face.

    Args:
        image: [H, W, 3] uint8, RGB, the whole picture.
        box: [4] xyxy in its pixels; may reach beyond it.
        landmarks: [5, 2] xy: left eye, right eye, nose, left and right corner of the mouth as seen; NaN where unknown.
        confidence: of the finder, 0–1.
    """
    known = bool(np.isfinite(landmarks).all())
    left, top, right, bottom = (float(value) for value in box)
    square = _square(landmarks) if known else (left, top, right, bottom)
    eye_distance, yaw, pitch, roll = _pose(landmarks) if known else (None, None, None, None)
    grey = _grey(image, box)
    deviation = float(grey.std())
    return Quality(
        eye_distance=eye_distance,
        side=min(right - left, bottom - top),
        sharpness=_sharpness(grey, deviation),
        brightness=float(grey.mean()),
        contrast=deviation,
        yaw=yaw,
        pitch=pitch,
        roll=roll,
        confidence=float(confidence),
        inside=_inside(square, image.shape[0], image.shape[1]),
    )


def _pose(landmarks: NDArray[np.floating]) -> tuple[float, float, float, float]:
    """Return the eyes' distance, and yaw, pitch and roll, in the frame of a face that is turned upright."""
    points = landmarks.astype(np.float64)
    across = points[1] - points[0]
    distance = float(np.hypot(*across))
    if not distance:
        return 0.0, 0.0, 0.0, 0.0
    right = across / distance
    down = np.array([-right[1], right[0]])
    eyes, mouth = points[:2].mean(0), points[3:].mean(0)
    height = float((mouth - eyes) @ down)
    yaw = float((points[2] - eyes) @ right) / distance
    pitch = float((points[2] - eyes) @ down) / height - 0.5 if height else 0.0
    return distance, yaw, pitch, math.degrees(math.atan2(across[1], across[0]))


def _square(landmarks: NDArray[np.floating]) -> tuple[float, float, float, float]:
    """Return the square of a face by its landmarks, whatever box a finder gives, xyxy."""
    points = landmarks.astype(np.float64)
    eyes, mouth = points[:2].mean(0), points[3:].mean(0)
    # of a face that looks to the side the eyes come near each other, and eyes and mouth don't: they are about as far apart
    half = max(np.hypot(*(points[1] - points[0])), np.hypot(*(mouth - eyes))) * _FACE / 2
    x, y = (eyes + mouth) / 2
    return float(x - half), float(y - half), float(x + half), float(y + half)


def _inside(box: tuple[float, float, float, float], height: int, width: int) -> float:
    left, top, right, bottom = box
    area = (right - left) * (bottom - top)
    seen = max(0.0, min(right, width) - max(left, 0)) * max(0.0, min(bottom, height) - max(top, 0))
    return seen / area if area > 0 else 0.0


def _grey(image: NDArray[np.uint8], box: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Return the part of a picture that a box covers, grey; one black pixel where it covers nothing."""
    height, width = image.shape[:2]
    left, top = (int(np.clip(np.floor(box[side]), 0, limit)) for side, limit in ((0, width), (1, height)))
    right, bottom = (int(np.clip(np.ceil(box[side]), 0, limit)) for side, limit in ((2, width), (3, height)))
    part = image[top:bottom, left:right]
    return cv2.cvtColor(np.ascontiguousarray(part), cv2.COLOR_RGB2GRAY).astype(np.uint8) if part.size else np.zeros((1, 1), np.uint8)


def _sharpness(grey: NDArray[np.uint8], deviation: float) -> float:
    if not deviation:
        return 0.0
    scaled = cv2.resize(
        grey.astype(np.float32), (_SIDE, _SIDE), interpolation=cv2.INTER_AREA if min(grey.shape) > _SIDE else cv2.INTER_CUBIC
    )
    return float(cv2.Laplacian(scaled * np.float32(64 / deviation), cv2.CV_32F).var())
