"""A model that stays ready to predict on single images, for programs that run for long, such as the server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from zoo.errors import ImageError
from zoo.images.decoding import Decoding
from zoo.images.headers import MAX_PIXELS
from zoo.models.model import Model
from zoo.prediction import memory
from zoo.prediction.groups import head_groups, min_size_hw, predictions_of
from zoo.prediction.sources import Frame, FrameReader
from zoo.system.hardware import pick_device, place
from zoo.system.precision import Precision
from zoo.task.answers import Prediction


class Session:
    """Steps of `zoo.predict`, to be called separately: read an image, then predict on several. Predictions are the same.

    `read` and `frame` may be called in several threads at once, `predict` in one.

    Attributes:
        model: the model, on its device and in evaluation mode.
        batch_size: maximum number of images that are computed together.
    """

    def __init__(
        self,
        model: Model,
        *,
        batch_size: int | None = None,
        precision: Precision = "auto",
        device: str = "auto",
        exact: bool = False,
        max_pixels: int = MAX_PIXELS,
        detector: object = None,
        faces: str = "all",
    ) -> None:
        """Prepare the model. The arguments are those of `zoo.predict`."""
        where = pick_device(device, model.compiled)
        self.model = model
        self._groups = head_groups(model, detector, faces, batch_size=batch_size, precision=precision, device=where)
        self.batch_size = min(group.batch_size for group in self._groups)
        decoding = Decoding(None if exact else min_size_hw(model), max_pixels)
        whole = dict.fromkeys(group.preprocess for group in self._groups if group.find is None)
        self._reader = FrameReader(decoding, "raise", [*whole])
        place(model, where)
        model.eval()

    def read(self, data: bytes, key: str) -> Frame:
        """Decode and preprocess the content of an image file. Of several frames, the first is decoded.

        Raises:
            ImageError: the image can't be read or is too large. The message contains the key.
        """
        return self._reader.frame(self._reader.decoding.decode(data, key)[0], key)

    def frame(self, pixels: Any, key: str) -> Frame:
        """Preprocess one decoded image: an array [H, W, 3] or a tensor [3, H, W]; RGB, uint8 or float 0–1.

        Raises:
            InputError: the shape, type or range of values isn't that of an image.
        """
        return self._reader.frame(memory.images(pixels, key, self._reader.decoding)[0][0], key)

    def predict(self, frames: Sequence[Frame]) -> list[Prediction | ImageError]:
        """Return a prediction for each image, or an error if it can't be processed, for example because a face in it can't be aligned."""
        found: dict[int, Prediction | ImageError] = {}
        parts = {}
        for place_of, frame in enumerate(frames):
            try:
                parts[place_of] = [group.parts(frame) for group in self._groups]
            except ImageError as error:
                found[place_of] = error
        if parts:
            with torch.inference_mode():
                several = predictions_of(self._groups, [frames[place_of] for place_of in parts], [*parts.values()])
            found.update(zip(parts, several, strict=True))
        return [found[place_of] for place_of in range(len(frames))]
