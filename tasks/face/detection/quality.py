"""Quality of a face photo: measurements that predict recognition errors (face small, blurred, turned, cut off, too dark or too bright).

Only the face is measured, in the original image. The measurements are stored with every enrolled face, so that other limits can be applied
later. The default limits accept all 400 photos of ORL and the test portraits, and reject degraded copies of them
(`tests/unit/tasks/face/detection/test_quality.py`). The limit of pitch is wide, because five landmarks contain little information about it.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from zoo.errors import InputError

_SIDE = 112  # faces are resized to this side in pixels before measuring sharpness, because large faces would otherwise seem smoother
_FACE = 1.8  # side of the square around a face, from brow to chin, in eye distances


@dataclass(frozen=True)
class Limits:
    """Limits of the measurements in `Quality` that a photo must meet to be enrolled.

    The limits of yaw, pitch and roll are maximum absolute values; all others are minimum values.
    """

    eye_distance: float = 20.0  # minimum distance between the eyes in pixels; aligned crops have 40 pixels for dlib and 35 for ArcFace
    side: float = 40.0
    sharpness: float = 40.0
    brightness: float = 25.0  # minimum mean grey level; the maximum is 255 minus this value
    contrast: float = 12.0
    yaw: float = 0.35
    pitch: float = 0.3
    # maximum absolute roll in degrees; only rejects people lying down, because alignment corrects smaller angles
    roll: float = 45.0
    confidence: float = 0.9
    inside: float = 0.75

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not value >= 0:
                raise InputError(f"quality: the limit {name} is {value}; expected 0 or more")


@dataclass(frozen=True)
class Quality:
    """Quality measurements of a face. Measurements that need landmarks are None if the landmarks are unknown."""

    eye_distance: float | None  # distance between the eyes in pixels
    side: float  # length of the box's shorter side in pixels
    # variance of the Laplacian of the grey face (Pech-Pacheco et al. 2000, Diatom autofocusing in brightfield microscopy), resized to 112
    # pixels and scaled to a standard deviation of 64, so that low contrast doesn't count as blur
    sharpness: float
    brightness: float  # mean grey level, 0–255
    contrast: float  # standard deviation of the grey levels
    # horizontal offset of the nose from the midpoint between the eyes, in eye distances; positive to the right; ±0.5 at an eye
    yaw: float | None
    # vertical position of the nose: −0.5 at the height of the eyes, 0 halfway, 0.5 at the height of the mouth
    pitch: float | None
    roll: float | None  # clockwise rotation of the line between the eyes, in degrees
    confidence: float  # confidence of the face detector, 0–1
    inside: float  # fraction of the face inside the image, 0–1

    def problems(self, limits: Limits) -> tuple[str, ...]:
        """Return a message for each limit that isn't met, with the value and the limit; an empty tuple if all are met."""
        found = []

        def least(value: float | None, limit: float, what: str) -> None:
            if value is not None and value < limit:
                found.append(f"{what}: {value:.3g}, expected {limit:g} or more")

        def most(value: float | None, limit: float, what: str) -> None:
            if value is not None and abs(value) > limit:
                found.append(f"{what}: {value:.3g}, expected -{limit:g} to {limit:g}")

        least(self.inside, limits.inside, "the face is cut off at the image's edge (fraction inside the image)")
        least(self.eye_distance, limits.eye_distance, "the face is too small (pixels between the eyes)")
        least(self.side, limits.side, "the face is too small (shorter side of its box, pixels)")
        least(self.brightness, limits.brightness, "the face is too dark (mean grey level)")
        least(255 - self.brightness, limits.brightness, "the face is too bright (grey levels below white)")
        least(self.contrast, limits.contrast, "the face has too little contrast (standard deviation of grey levels)")
        least(self.sharpness, limits.sharpness, "the face is blurred (sharpness)")
        most(self.yaw, limits.yaw, "the face looks to the side (yaw, eye distances)")
        most(self.pitch, limits.pitch, "the face looks up or down (pitch)")
        most(self.roll, limits.roll, "the head is tilted (roll, degrees)")
        least(self.confidence, limits.confidence, "the detection may not be a face (confidence)")
        return tuple(found)


def measure(image: NDArray[np.uint8], box: NDArray[np.floating], landmarks: NDArray[np.floating], confidence: float) -> Quality:
    """Measure the quality of a face in an image [H, W, 3], RGB, from its box, landmarks and confidence as in `detection.faces.Found`."""
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
    """Return eye distance, yaw, pitch and roll. Yaw and pitch are measured along the axes of the face, after correcting its roll."""
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
    """Return the square around a face (xyxy), computed from its landmarks only."""
    points = landmarks.astype(np.float64)
    eyes, mouth = points[:2].mean(0), points[3:].mean(0)
    # in a frontal face, the distance from eyes to mouth is about the eye distance; in profile, only the eye distance shrinks
    half = max(np.hypot(*(points[1] - points[0])), np.hypot(*(mouth - eyes))) * _FACE / 2
    x, y = (eyes + mouth) / 2
    return float(x - half), float(y - half), float(x + half), float(y + half)


def _inside(box: tuple[float, float, float, float], height: int, width: int) -> float:
    left, top, right, bottom = box
    area = (right - left) * (bottom - top)
    seen = max(0.0, min(right, width) - max(left, 0)) * max(0.0, min(bottom, height) - max(top, 0))
    return seen / area if area > 0 else 0.0


def _grey(image: NDArray[np.uint8], box: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Return the greyscale crop of an image to a box; a single black pixel if the box lies outside the image."""
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
