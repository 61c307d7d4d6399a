"""The model interface that tasks use."""

from __future__ import annotations

from typing import Any, Protocol

import torch

from zoo.backbones import Backbone
from zoo.images.preprocess import Preprocess


class TaskModel(Protocol):
    """The interface of a model that tasks use; `zoo.Model` implements it.

    Attributes:
        preprocess: the model's preprocessing.
        metadata: values needed to interpret the model's outputs, such as distance and threshold for embeddings.
    """

    preprocess: Preprocess
    metadata: dict[str, Any]

    @property
    def config(self) -> Any:
        """The configuration; `config.options` maps the task's option names to values."""

    @property
    def backbone(self) -> Backbone:
        """The backbone."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names by index."""

    @property
    def device(self) -> torch.device:
        """Device of the parameters."""

    def __call__(self, images: Any, targets: Any = None) -> Any:
        """Return the outputs for a batch of images, or losses by name if targets are passed."""
