"""Identified faces of one image, as the command line and the server show them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image, ImageDraw

from zoo.images.drawing import enlargement, lettering, text_size
from zoo.tasks.face.gallery.answers import Identification
from zoo.tasks.face.prediction.faces import Faces


@dataclass(frozen=True, eq=False)
class NamedFaces:
    """The faces in an image and the result of identifying each of them."""

    faces: Faces
    answers: Sequence[Identification]

    @property
    def key(self) -> str:
        """Key of the image."""
        return self.faces.key

    def plot(self) -> Image.Image:
        """Return the image with boxes and names drawn on it."""
        picture = self.faces.plot()
        draw = ImageDraw.Draw(picture)
        height, width = self.faces.image.shape[:2]
        scale = enlargement((width, height))  # scale of the plot
        size = text_size((width * scale, height * scale))
        for box, answer in zip(self.faces.boxes * scale, self.answers, strict=True):
            place = (max(0.0, float(box[0])), max(0.0, float(box[1]) - size - 2))
            label, font = lettering(answer.name or answer.decision, size)
            draw.rectangle(draw.textbbox(place, label, font=font), fill=(24, 24, 32))
            draw.text(place, label, fill=(255, 255, 255) if answer.name else (190, 190, 190), font=font)
        return picture

    def to_dict(self) -> dict[str, Any]:
        """Return the key, boxes and identifications as JSON-compatible values, without the embeddings."""
        boxes = zip(self.faces.boxes, self.faces.scores, self.answers, strict=True)
        return {
            "key": self.key,
            "faces": [{"box": box.tolist(), "score": float(score), **answer.to_dict()} for box, score, answer in boxes],
        }
