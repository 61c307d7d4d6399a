"""Linear classification head on pooled features."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from zoo.errors import InputError
from zoo.task.head import Losses
from zoo.task.pooling import PooledHead

CLASS_DEPENDENT = ("fc.", "memory", "labels")  # parameters and buffers of all heads of this task, because one head may replace another


class ClassificationHead(PooledHead):
    """Global average pooling of the deepest level, dropout and one linear layer."""

    class_dependent: ClassVar[tuple[str, ...]] = CLASS_DEPENDENT

    def __init__(self, channels: int, num_classes: int, dropout: float) -> None:
        super().__init__()
        if num_classes < 1:
            raise InputError(f"classification needs at least one class, got {num_classes}; pass classes= or num_classes=")
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(channels, num_classes)

    def answer(self, pooled: Tensor) -> Tensor:
        """Return the logits [B, K] of pooled features [B, C]."""
        logits: Tensor = self.fc(self.dropout(pooled))
        return logits

    def pooled_loss(self, pooled: Tensor, targets: Any) -> Losses:
        """Return the cross-entropy. Targets are classes [B] int64 or probabilities [B, K]."""
        logits = self.answer(pooled).float()
        return {"loss_classifier": F.cross_entropy(logits, targets.to(logits.device))}
