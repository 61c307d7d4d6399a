"""Detected faces of an image, the contract of a face detector, and the choice of faces to keep."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from zoo.errors import InputError, UnknownNameError

Image = NDArray[np.uint8]
Which = Literal["all", "largest", "central"]


@dataclass(frozen=True, eq=False)
class Found:
    """Detected faces of one image, in pixels of that image."""

    boxes: NDArray[np.float32]  # [N, 4] float32, xyxy; the box of a face at the edge may extend beyond the image
    scores: NDArray[np.float32]  # [N] float32, confidence that the box holds a face, 0–1, descending
    # [N, 5, 2] float32, xy: left eye, right eye, nose, left and right corner of the mouth, where left and right are those of the image;
    # NaN where unknown
    landmarks: NDArray[np.float32]

    def __post_init__(self) -> None:
        """Check shapes and order, and make the arrays read-only."""
        count = len(self.scores)
        for name, shape in (("boxes", (count, 4)), ("scores", (count,)), ("landmarks", (count, 5, 2))):
            array: NDArray[np.float32] = getattr(self, name)
            if array.shape != shape:
                raise InputError(f"detected faces: {name} has the shape {array.shape}; expected {shape}, one row per face")
            array.setflags(write=False)
        if not np.isfinite(self.boxes).all() or not np.isfinite(self.scores).all():
            raise InputError("detected faces: boxes or scores hold values that are not finite")
        if (np.diff(self.scores) > 0).any():
            raise InputError("detected faces: scores are not in descending order")

    def __len__(self) -> int:
        """Return the number of faces."""
        return len(self.scores)

    @classmethod
    def none(cls) -> Found:
        """Return the result for an image without a face."""
        return cls(np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty((0, 5, 2), np.float32))

    def take(self, rows: NDArray[np.int64]) -> Found:
        """Return the faces at these indices, which must be in descending order of score."""
        return Found(self.boxes[rows], self.scores[rows], self.landmarks[rows])


class Finder(Protocol):
    """Contract of a face detector."""

    @property
    def settings(self) -> dict[str, Any]:
        """All settings that the results depend on, JSON-ready; part of the key of cached results."""

    def __call__(self, image: Image) -> Found:
        """Return the faces of an RGB image [H, W, 3]."""


@dataclass(frozen=True)
class Wanted:
    """Choice of the detected faces to keep.

    Attributes:
        which: "all"; "largest", by box area; or "central", the face with the largest value of box area minus twice the squared distance
            from the box's centre to the image's, so that neither a passer-by at the edge nor a speck in the centre is taken for the
            subject of the image (the rule used for FaceNet's LFW crops).
    """

    which: Which = "all"

    def __post_init__(self) -> None:
        """Check the choice."""
        if self.which not in get_args(Which):
            raise UnknownNameError("choice of faces", str(self.which), get_args(Which))

    def of(self, found: Found, size_hw: tuple[int, int]) -> Found:
        """Return the chosen faces of an image of this height and width; boxes without a pixel in the image are dropped."""
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
    """Check that a score threshold lies strictly between 0 and 1."""
    if not 0 < threshold < 1:
        raise InputError(f"{finder}: threshold is {threshold}; expected a score between 0 and 1")
