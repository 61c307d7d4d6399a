"""Where the faces of a picture are: what every finder answers, and which faces are wanted of it."""

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
    """The faces of one picture, in pixels of that picture.

    Attributes:
        boxes: [N, 4] float32, xyxy; a face that is cut off may reach beyond the picture.
        scores: [N] float32, how sure it is that this is a face, 0–1, descending.
        landmarks: [N, 5, 2] float32, xy: left eye, right eye, nose, left and right corner of the mouth as they are seen in the
            picture; NaN where they are unknown.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    landmarks: NDArray[np.float32]

    def __post_init__(self) -> None:
        """Check shapes and order, and make the arrays read-only.

        Raises:
            InputError: an array of another shape, boxes that aren't finite, or scores that don't descend.
        """
        count = len(self.scores)
        for name, shape in (("boxes", (count, 4)), ("scores", (count,)), ("landmarks", (count, 5, 2))):
            array: NDArray[np.float32] = getattr(self, name)
            if array.shape != shape:
                raise InputError(f"faces that were found: {name} has the shape {array.shape}; expected {shape}, one row per face")
            array.setflags(write=False)
        if not np.isfinite(self.boxes).all() or not np.isfinite(self.scores).all():
            raise InputError("faces that were found: boxes or scores hold values that are not finite")
        if (np.diff(self.scores) > 0).any():
            raise InputError("faces that were found: scores are not in descending order")

    def __len__(self) -> int:
        """Return the number of faces."""
        return len(self.scores)

    @classmethod
    def none(cls) -> Found:
        """Return the answer for a picture without a face."""
        return cls(np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty((0, 5, 2), np.float32))

    def take(self, rows: NDArray[np.int64]) -> Found:
        """Return some of the faces, in the order given, which descends by score."""
        return Found(self.boxes[rows], self.scores[rows], self.landmarks[rows])


class Finder(Protocol):
    """Finds the faces of one picture."""

    @property
    def settings(self) -> dict[str, Any]:
        """Everything that decides its answers, JSON-ready: what is kept of them is known again by it."""

    def __call__(self, image: Image) -> Found:
        """Return the faces of an RGB picture [H, W, 3]."""


@dataclass(frozen=True)
class Wanted:
    """Which of the faces that a finder has found are taken.

    Attributes:
        which: "all"; "largest", by the area of its box; or "central": the one whose area less twice the squared distance of its middle
            from the picture's is largest, so that neither a passer-by at the edge nor a speck in the middle is taken for the person
            that the picture is of (the rule that FaceNet's LFW crops are made by).
    """

    which: Which = "all"

    def __post_init__(self) -> None:
        """Refuse what can't be meant.

        Raises:
            UnknownNameError: another choice of faces.
        """
        if self.which not in get_args(Which):
            raise UnknownNameError("choice of faces", str(self.which), get_args(Which))

    def of(self, found: Found, size_hw: tuple[int, int]) -> Found:
        """Return the wanted faces of those of a picture of this height and width; a box without a pixel of it is no face."""
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
    """Refuse a threshold that no score can be above, or none below.

    Raises:
        InputError: naming the finder.
    """
    if not 0 < threshold < 1:
        raise InputError(f"{finder}: threshold is {threshold}; expected a score between 0 and 1")
