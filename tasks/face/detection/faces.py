"""Detected faces of an image, the protocol of face detectors, and the choice of the faces to keep."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from zoo.errors import InputError, UnknownNameError
from zoo.images.decoding import Image

Which = Literal["all", "largest", "central"]


@dataclass(frozen=True, eq=False)
class Found:
    """Detected faces of one image, in pixels of that image."""

    boxes: NDArray[np.float32]  # [N, 4] float32, xyxy; boxes at the edge may extend beyond the image
    scores: NDArray[np.float32]  # [N] float32, confidence that the box holds a face, 0–1, descending
    # [N, 5, 2] float32, xy: left eye, right eye, nose, left and right corner of the mouth, as seen in the image;
    # NaN if unknown
    landmarks: NDArray[np.float32]

    def __post_init__(self) -> None:
        """Check the arrays' shapes and values, and make the arrays read-only."""
        count = len(self.scores)
        for name, shape in (("boxes", (count, 4)), ("scores", (count,)), ("landmarks", (count, 5, 2))):
            array: NDArray[np.float32] = getattr(self, name)
            if array.shape != shape:
                raise InputError(f"detected faces: {name} has the shape {array.shape}; expected {shape}, one row per face")
            array.setflags(write=False)
        if not np.isfinite(self.boxes).all() or not np.isfinite(self.scores).all():
            raise InputError("detected faces: boxes or scores have values that are not finite")
        if (np.diff(self.scores) > 0).any():
            raise InputError("detected faces: scores are not in descending order")

    def __len__(self) -> int:
        """Return the number of faces."""
        return len(self.scores)

    def take(self, rows: NDArray[np.int64]) -> Found:
        """Return the faces at the indices `rows`, which must be in descending order of score."""
        return Found(self.boxes[rows], self.scores[rows], self.landmarks[rows])


class Finder(Protocol):
    """Protocol of face detectors."""

    @property
    def settings(self) -> dict[str, Any]:
        """All settings that the results depend on, as a JSON-ready dict; they are part of the key of cached results."""

    def __call__(self, image: Image) -> Found:
        """Detect the faces of an RGB image [H, W, 3]."""


@dataclass(frozen=True)
class Wanted:
    """Choice of the detected faces to keep.

    Attributes:
        which: "all" faces, the "largest" one by box area, or the "central" one. The central face maximises the box area minus twice the
            squared distance from the centre of the box to the centre of the image. This rule, used for FaceNet's LFW crops, ignores
            passers-by at the edge as well as tiny detections in the centre.
    """

    which: Which = "all"

    def __post_init__(self) -> None:
        if self.which not in get_args(Which):
            raise UnknownNameError("choice of faces", str(self.which), get_args(Which))

    def of(self, found: Found, size_hw: tuple[int, int]) -> Found:
        """Return the faces to keep for an image of size `size_hw` (height, width). Boxes that lie outside the image are dropped."""
        frame = np.array([size_hw[1], size_hw[0]], np.float32)
        seen = (np.minimum(found.boxes[:, 2:], frame) - np.maximum(found.boxes[:, :2], 0)).min(1) >= 1
        kept = found.take(np.flatnonzero(seen))
        if self.which == "all" or len(kept) < 2:
            return kept
        worth = np.prod(kept.boxes[:, 2:] - kept.boxes[:, :2], axis=1)
        if self.which == "central":
            worth = worth - 2 * (((kept.boxes[:, :2] + kept.boxes[:, 2:]) / 2 - frame / 2) ** 2).sum(1)
        return kept.take(np.array([np.argmax(worth)], np.int64))


def check_score(finder: str, threshold: float) -> None:
    """Check that a score threshold is greater than 0 and less than 1."""
    if not 0 < threshold < 1:
        raise InputError(f"{finder}: threshold is {threshold}; expected a score between 0 and 1")
