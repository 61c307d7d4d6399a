"""Where the model looked when it made a mistake, as maps over the picture as the model got it; the task knows how to find out."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from zoo.data.dataset import Image
from zoo.errors import InputError
from zoo.images.preprocess import as_float
from zoo.models.model import Model
from zoo.report.figures import Drawn, overlaid
from zoo.task.contract import get_task
from zoo.task.metric import Mistake

_LEGEND = "Coloured maps show where the model looked: red the most, no colour nothing, each map on a scale of its own."


class Looks:
    """Asks the task about one mistake after the other.

    Attributes:
        note: what a reader must know of the maps, or why there are none; "" where the task has none.
    """

    def __init__(self, task: str, model: Model | None) -> None:
        """Take the task's name and the model; without a model there are no maps."""
        self._task, self._model = get_task(task), model
        self.note = ""

    def maps(self, image: Image, mistake: Mistake) -> list[Drawn]:
        """Return the maps of a mistake; none where it is a pair's, or where what it takes isn't installed, which the note says then."""
        if self._model is None or len(mistake.keys) > 1:
            return []
        try:
            found = list(self._found(self._model, image, mistake))
        except InputError as error:  # for the other mistakes neither
            self._model, self.note = None, f"Where the model looked is not shown: {error}"
            return []
        self.note = _LEGEND if found else self.note
        return found

    def _found(self, model: Model, image: Image, mistake: Mistake) -> Iterator[Drawn]:
        if model.compiled:
            raise InputError("a compiled model has no layers to look into; report on the one it was made from")
        was_training = model.training
        model.eval()
        try:
            batch = model.preprocess.batch([image])
            found = self._task.answers.explain(model, batch, mistake)
        finally:
            model.train(was_training)
        height, width = batch.sizes_hw[0]
        with torch.inference_mode():
            pixels = (as_float(batch.pixels[0, :, :height, :width]).clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
        for said, heat in found.items():
            yield Drawn(overlaid(np.ascontiguousarray(pixels), heat[:height, :width]), said + ("" if heat.any() else ": nothing"))
