"""What a head is built from, and what it answers: the part of a model that a task puts on a trunk."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from zoo.backbones import Features, Level
from zoo.preprocess import ImageBatch, Preprocess

Losses = dict[str, Tensor]


@dataclass(frozen=True)
class HeadSpec:
    """What a head is built from.

    Attributes:
        levels: the trunk's levels, deepest last.
        num_classes: the user's classes (no background); 0 where the task works without.
        options: the task's options.
        preprocess: the model's preprocessing (a head may need sizes; it never applies it).
    """

    levels: tuple[Level, ...]
    num_classes: int
    options: Any
    preprocess: Preprocess


class Head(nn.Module, ABC):
    """From features to the task's answer, and from features and targets to losses."""

    @abstractmethod
    def forward(self, features: Features, batch: ImageBatch) -> Any:
        """Answer in the task's own convention (logits, list of boxes, embeddings); coordinates are the original picture's."""

    @abstractmethod
    def loss(self, features: Features, batch: ImageBatch, targets: Any) -> Losses:
        """Return named scalar losses, in training and evaluation mode alike; targets are in original coordinates."""
