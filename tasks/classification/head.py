"""Classification heads on pooled features: a linear layer, or a vote among the nearest training images."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.errors import InputError
from zoo.task.head import Losses, PooledHead, RememberingHead

_CLASS_DEPENDENT = ("fc.", "memory", "labels")  # parameters and buffers of both heads, because one head may replace the other
_TEMPERATURE = 0.07  # value of Wu et al.; the vote of a neighbour has the weight exp(cosine / temperature)
_SUM = 1e-3  # maximum difference of the sum of probabilities from 1
_LEAST = 1e-6  # minimum fraction of the votes for each class, so that logits are finite


class ClassificationHead(PooledHead):
    """Global average pooling of the deepest level, dropout and one linear layer."""

    class_dependent: ClassVar[tuple[str, ...]] = _CLASS_DEPENDENT

    def __init__(self, channels: int, num_classes: int, dropout: float) -> None:
        super().__init__()
        _check_classes(num_classes)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(channels, num_classes)

    def answer(self, pooled: Tensor) -> Tensor:
        """Return the logits [B, K] of pooled features [B, C]."""
        logits: Tensor = self.fc(self.dropout(pooled))
        return logits

    def pooled_loss(self, pooled: Tensor, targets: Any) -> Losses:
        """Return the cross-entropy. Targets are classes [B] int64 or probabilities [B, K]."""
        logits = self.answer(pooled).float()
        check_targets(logits, targets)
        return {"loss_classifier": F.cross_entropy(logits, targets.to(logits.device))}


class NeighbourHead(RememberingHead):
    """k-nearest-neighbours head, whose logits are the logarithms of the fractions of votes for each class.

    The method is that of Wu et al. 2018, arXiv 1805.01978, section 3.4; DINO evaluates backbones with it too. The features and classes of
    the training images are stored in buffers and saved with the model.
    """

    class_dependent: ClassVar[tuple[str, ...]] = _CLASS_DEPENDENT

    def __init__(self, channels: int, num_classes: int, neighbours: int) -> None:
        super().__init__()
        _check_classes(num_classes)
        self._num_classes, self._neighbours = num_classes, neighbours
        self.register_buffer("memory", torch.zeros(0, channels))  # stored features, [N, C], of unit length
        self.register_buffer("labels", torch.zeros(0, dtype=torch.int64))  # classes of the stored features, [N]
        self.memory: Tensor
        self.labels: Tensor

    def remember(self, pooled: Tensor, targets: Tensor) -> None:
        """Replace the stored features with pooled features [N, C] and their classes [N] int64."""
        self.memory = F.normalize(pooled, dim=1).to(self.memory.device)
        self.labels = targets.to(self.labels.device)

    def answer(self, pooled: Tensor) -> Tensor:
        """Return the logarithms of the fractions of votes for each class, [B, K]."""
        if not len(self.memory):
            raise InputError("classifier 'knn' has no stored images yet; train the model first (zoo train --classifier knn --freeze trunk)")
        # without autocast, because similarities of neighbours differ only in the third digit
        with torch.autocast(pooled.device.type, enabled=False):
            similar, nearest = (F.normalize(pooled.float(), dim=1) @ self.memory.T).topk(min(self._neighbours, len(self.memory)))
            votes = pooled.new_zeros(pooled.shape[0], self._num_classes, dtype=torch.float32)
            votes = votes.scatter_add(1, self.labels[nearest], (similar / _TEMPERATURE).exp())
            return (votes / votes.sum(1, keepdim=True)).clamp_min(_LEAST).log()

    def pooled_loss(self, pooled: Tensor, targets: Any) -> Losses:
        """Return the cross-entropy, which is only reported, because the head has no parameters. Targets are [B] int64 or [B, K]."""
        logits = self.answer(pooled)
        check_targets(logits, targets)
        return {"loss_classifier": F.cross_entropy(logits, targets.to(pooled.device))}

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *others: Any) -> None:
        """Resize the buffers to those in the state dict before loading it."""
        for name in ("memory", "labels"):
            if f"{prefix}{name}" in state_dict:
                own = getattr(self, name)
                setattr(self, name, own.new_zeros(len(state_dict[f"{prefix}{name}"]), *own.shape[1:]))
        super()._load_from_state_dict(state_dict, prefix, *others)


def check_targets(logits: Tensor, targets: Tensor) -> None:
    """Raise an `InputError` unless targets are classes [B] or probabilities [B, K] for logits [B, K].

    Values are checked on the CPU only, because reading them from a GPU would stall it in every step.
    """
    soft, (batch, count) = targets.is_floating_point(), logits.shape
    fits = tuple(targets.shape) == ((batch, count) if soft else (batch,))
    if fits and targets.device.type == "cpu" and batch:
        valid = (targets.sum(1) - 1).abs() < _SUM if soft else (targets >= 0) & (targets < count)  # false for NaN
        fits = bool(valid.all())
    if not fits:
        given = f"{str(targets.dtype).removeprefix('torch.')} {list(targets.shape)}, such as {targets.flatten()[:4].tolist()}"
        raise InputError(
            f"targets are {given}; a model with one class per image expects int64 [{batch}] with classes from 0 to {count - 1}, or "
            f"probabilities [{batch}, {count}] that sum to 1. If an image may have several classes, build the model with multi_label=True"
        )


def _check_classes(num_classes: int) -> None:
    if num_classes < 1:
        raise InputError(f"classification needs at least one class, got {num_classes}; pass classes= or num_classes=")
