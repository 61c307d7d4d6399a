"""Base classes of heads: the part of a model that a task adds to a backbone."""

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
    """Specification from which a head is built.

    Attributes:
        levels: the backbone's feature levels, deepest last.
        num_classes: number of the user's classes (without background); 0 for tasks that don't need classes.
        options: the task's build options.
        preprocess: the model's preprocessing, from which a head may read sizes; heads never apply it.
    """

    levels: tuple[Level, ...]
    num_classes: int
    options: Any
    preprocess: Preprocess


class HeadNetwork(nn.Module):
    """A part of a head that maps one tensor with any number of rows to a tuple of tensors.

    Attributes:
        row_shape: shape of one row.
    """

    row_shape: tuple[int, ...]


class Head(nn.Module, ABC):
    """Maps features to the task's answer, and features and targets to losses.

    An answer is computed in two steps. The first, `tensors`, maps tensors to tensors for images of any number and size; an engine may
    compute it together with the backbone. The second, `answered`, is everything else; where it needs parameters, it calls one of the
    `networks`, which an engine may compute as well.

    Attributes:
        fixed_hw: the only image size that the head accepts; None for any size.
    """

    fixed_hw: tuple[int, int] | None = None

    def __init__(self) -> None:
        """Initialise without layers."""
        super().__init__()
        self._replaced: dict[str, Callable[..., Tensors]] = {}

    def check(self, batch: ImageBatch) -> None:
        """Check that the head can answer for a batch; by default every batch is accepted.

        Raises:
            InputError: the images don't have the size that the head requires.
        """

    def forward(self, features: Features, batch: ImageBatch) -> Any:
        """Return the answer in the task's format (logits, list of boxes, embeddings); coordinates refer to the original image."""
        return self.answered(self.tensors(features), batch)

    @abstractmethod
    def tensors(self, features: Features) -> Tensors:
        """Return the part of the answer that depends only on the backbone's feature levels."""

    @abstractmethod
    def answered(self, tensors: Tensors, batch: ImageBatch) -> Any:
        """Return the answer for a batch from the result of `tensors`."""

    def networks(self) -> dict[str, HeadNetwork]:
        """Return the networks that `answered` calls, by name; by default none."""
        return {}

    def call(self, name: str, rows: Tensor) -> Tensors:
        """Call one of the networks, or its replacement."""
        found: Tensors = (self._replaced.get(name) or self.networks()[name])(rows)
        return found

    def replace(self, networks: Mapping[str, Callable[..., Tensors]]) -> None:
        """Replace networks by other callables, such as compiled ones; earlier replacements are dropped."""
        self._replaced = dict(networks)

    @abstractmethod
    def loss(self, features: Features, batch: ImageBatch, targets: Any) -> Losses:
        """Return named scalar losses, in training and evaluation mode alike; targets are in original coordinates."""
