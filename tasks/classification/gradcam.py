"""Grad-CAM of a classifier (Selvaraju et al. 2017, arXiv 1610.02391) on the last stage of its backbone, computed by captum."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zoo.errors import InputError
from zoo.images.preprocess import ImageBatch, as_float

if TYPE_CHECKING:
    from zoo.task.building import TaskModel


def grad_cam(model: TaskModel, batch: ImageBatch, label: int) -> NDArray[np.float32]:
    """Return a heat map of the regions that support a class, for a batch of one preprocessed image.

    The map [h, w] has the size of the preprocessed image and values from 0 to 1. Its maximum is 1, unless all values are 0.
    """
    try:
        from captum import attr  # an optional dependency, slow to import
    except ModuleNotFoundError as error:
        raise InputError("Grad-CAM needs captum, which is not installed. Install it with: pip install 'resnet-zoo[robustness]'") from error
    images = batch.to(model.device)

    def answer(pixels: Tensor) -> Tensor:
        logits: Tensor = model(replace(images, pixels=pixels))
        return logits

    last = model.backbone.stages()[-1][-1]
    with torch.enable_grad():
        found = attr.LayerGradCam(answer, last).attribute(as_float(images.pixels), target=label, relu_attributions=True)
        heat: Tensor = attr.LayerAttribution.interpolate(found.detach(), tuple(images.pixels.shape[-2:]), "bilinear")[0, 0]
    highest = heat.max().clamp_min(torch.finfo(heat.dtype).tiny)
    scaled: NDArray[np.float32] = (heat / highest).float().cpu().numpy()
    return scaled
