"""Multi-label classification head: a linear layer with one independent decision per class, trained with binary cross-entropy."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.errors import InputError
from zoo.task.head import Losses
from zoo.tasks.classification.head import ClassificationHead


class MultiLabelHead(ClassificationHead):
    """Global average pooling of the deepest level, dropout and one linear layer, whose logits are those of independent probabilities."""

    def pooled_loss(self, pooled: Tensor, targets: Any) -> Losses:
        """Return the binary cross-entropy with targets [B, K] float: 1, 0 or values between them, and NaN for unknown labels."""
        logits = self.answer(pooled).float()
        fits = targets.shape == logits.shape and targets.is_floating_point()
        if fits and targets.device.type == "cpu":  # reading values from a GPU would stall it in every step
            fits = not bool(((targets < 0) | (targets > 1)).any())
        if not fits:
            given = f"{str(targets.dtype).removeprefix('torch.')} {list(targets.shape)}"
            raise InputError(f"targets are {given}; a multi-label model expects float32 {list(logits.shape)}: 1, 0 or NaN (unknown)")
        targets = targets.to(logits.device)
        return {"loss_classifier": masked_cross_entropy(logits, targets)}


def masked_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the mean binary cross-entropy over the known labels of a batch, a scalar; 0, with gradients of 0, if none is known.

    Every known label of the batch has the same weight, so that leaving out labels at random doesn't change the expected loss. If the mean
    were taken over the labels of each image first, those of images with few known labels would have more weight than others.
    """
    known = ~torch.isnan(targets)
    losses = F.binary_cross_entropy_with_logits(logits, targets.nan_to_num(0.0).to(logits.dtype), reduction="none")
    return (losses * known).sum() / known.sum().clamp_min(1)
