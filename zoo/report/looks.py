"""Heat maps of where the model looked when it made a mistake, overlaid on its input; the task computes them."""

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

_LEGEND = "Coloured maps show where the model looked: red is the strongest, no colour is none; each map is scaled separately."


class Looks:
    """Heat maps of mistakes, computed by the task.

    Attributes:
        note: legend of the maps, or why there are none; "" if the task has no maps.
    """

    def __init__(self, task: str, model: Model | None) -> None:
        """Take the name of the task and the model; without a model, there are no maps."""
        self._task, self._model = get_task(task), model
        self.note = ""

    def maps(self, image: Image, mistake: Mistake) -> list[Drawn]:
        """Return the maps of a mistake; none for a pair of images, or if a required package is missing (reported in `note`)."""
        if self._model is None or len(mistake.keys) > 1:
            return []
        try:
            found = list(self._found(self._model, image, mistake))
        except InputError as error:  # the other mistakes would fail as well
            self._model, self.note = None, f"Maps of where the model looked are not shown: {error}"
            return []
        self.note = _LEGEND if found else self.note
        return found

    def _found(self, model: Model, image: Image, mistake: Mistake) -> Iterator[Drawn]:
        if model.compiled:
            raise InputError("the layers of a compiled model can't be inspected; use the model that was compiled")
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
        for caption, heat in found.items():
            yield Drawn(overlaid(np.ascontiguousarray(pixels), heat[:height, :width]), caption + ("" if heat.any() else ": nothing"))
