"""Result type of `zoo.predict` for face models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from zoo.images.drawing import caption
from zoo.system.wording import counted
from zoo.tasks.face.detection.faces import Found

_LINE, _DOT = (64, 220, 120), (255, 96, 64)


@dataclass(frozen=True, eq=False)
class Faces:
    """Faces of one image, with their embeddings.

    Attributes:
        key: file name or other identifier of the image.
        image: [H, W, 3] uint8, RGB, the original image.
        boxes: [N, 4] float32, xyxy in pixels of the original image.
        scores: [N] float32, confidence that the box holds a face, 0–1, descending.
        landmarks: [N, 5, 2] float32, xy in pixels of the original image: left and right eye, nose, left and right corner of the mouth; NaN
            where unknown.
        embeddings: [N, D] float32, one embedding per face.
    """

    key: str
    image: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    landmarks: NDArray[np.float32]
    embeddings: NDArray[np.float32]

    def __post_init__(self) -> None:
        Found(self.boxes, self.scores, self.landmarks)  # checks the arrays and makes them read-only
        if self.embeddings.ndim != 2 or len(self.embeddings) != len(self):
            raise ValueError(f"embeddings has the shape {self.embeddings.shape}; expected ({len(self)}, D), one row per face")
        if not np.isfinite(self.embeddings).all():
            raise ValueError(f"embeddings of {self.key} holds values that are not finite")
        self.embeddings.setflags(write=False)

    def __len__(self) -> int:
        return len(self.scores)

    @classmethod
    def whole_picture(cls, key: str, image: NDArray[np.uint8], embedding: NDArray[np.float32]) -> Faces:
        """Return a result with one face: the whole image, with score 1 and unknown landmarks."""
        height, width = image.shape[:2]
        frame = np.array([[0, 0, width, height]], np.float32)
        return cls(key, image, frame, np.ones(1, np.float32), np.full((1, 5, 2), np.nan, np.float32), embedding[None].copy())

    def plot(self) -> Image.Image:
        """Return the image with boxes and landmarks drawn on it, and a caption with the number of faces below it."""
        return caption(np.asarray(self.draw(Image.fromarray(self.image))), self.lines())

    def draw(self, picture: Image.Image) -> Image.Image:
        """Draw boxes and landmarks on `picture`, the image enlarged by an integer factor, and return it."""
        draw, enlarge = ImageDraw.Draw(picture), picture.width // self.image.shape[1]
        line = max(1, round(max(picture.size) / 300))
        for box, points in zip(self.boxes * enlarge, self.landmarks * enlarge, strict=True):
            left, top, right, bottom = box.tolist()
            draw.rectangle((left, top, max(left, right - 1), max(top, bottom - 1)), outline=_LINE, width=line)
            dot = min(2.0 * line, max(1.0, (right - left) / 25))  # small dots, so that small faces in a large image stay visible
            for point in points[np.isfinite(points).all(1)].tolist():
                draw.circle(point, dot, fill=_DOT)
        return picture

    def lines(self) -> list[str]:
        """Return the number of faces and the length of their embeddings."""
        return [f"{counted(len(self), 'face')}, embedding size {self.embeddings.shape[1]}"]

    def to_dict(self) -> dict[str, Any]:
        """Return the faces as a JSON-ready dict; unknown landmarks are None."""
        faces = [
            {
                "box": box.tolist(),
                "score": float(score),
                "landmarks": [point.tolist() if np.isfinite(point).all() else None for point in points],
                "embedding": embedding.tolist(),
            }
            for box, score, points, embedding in zip(self.boxes, self.scores, self.landmarks, self.embeddings, strict=True)
        ]
        return {"key": self.key, "faces": faces}
