"""What a head is built from, and what it answers: the part of a model that a task puts on a trunk."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from zoo.backbones import Features, Level
from zoo.images.preprocess import ImageBatch, Preprocess

Losses = dict[str, Tensor]
Tensors = tuple[Tensor, ...]


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


class HeadNetwork(nn.Module):
    """A part of a head from one tensor to a tuple of tensors, for any number of rows.

    Attributes:
        row_shape: of one row.
    """

    row_shape: tuple[int, ...]


class Head(nn.Module, ABC):
    """From features to the task's answer, and from features and targets to losses.

    An answer comes about in two steps. The first, `tensors`, goes from tensors to tensors, whatever the number and size of the pictures:
    an engine may compute it together with the trunk. The second, `answered`, is everything else; where it needs parameters, it calls one
    of the `networks`, which an engine may compute too.

    Attributes:
        fixed_hw: the one size of pictures that the head takes; None for any.
    """

    fixed_hw: tuple[int, int] | None = None

    def __init__(self) -> None:
        """Start without layers."""
        super().__init__()
        self._replaced: dict[str, Callable[..., Tensors]] = {}

    def check(self, batch: ImageBatch) -> None:
        """Refuse a batch that the head can't answer for.

        Raises:
            InputError: pictures of another size than the head's own.
        """

    def forward(self, features: Features, batch: ImageBatch) -> Any:
        """Answer in the task's own convention (logits, list of boxes, embeddings); coordinates are the original picture's."""
        return self.answered(self.tensors(features), batch)

    @abstractmethod
    def tensors(self, features: Features) -> Tensors:
        """Return what can be computed from the trunk's levels alone."""

    @abstractmethod
    def answered(self, tensors: Tensors, batch: ImageBatch) -> Any:
        """Return the answer, from what `tensors` gave for a batch."""

    def networks(self) -> dict[str, HeadNetwork]:
        """Return what `answered` calls by name."""
        return {}

    def call(self, name: str, rows: Tensor) -> Tensors:
        """Call one of the networks, or what stands in for it."""
        found: Tensors = (self._replaced.get(name) or self.networks()[name])(rows)
        return found

    def replace(self, networks: Mapping[str, Callable[..., Tensors]]) -> None:
        """Let others compute the networks from now on."""
        self._replaced = dict(networks)

    @abstractmethod
    def loss(self, features: Features, batch: ImageBatch, targets: Any) -> Losses:
        """Return named scalar losses, in training and evaluation mode alike; targets are in original coordinates."""
