"""The registry of trunks: what a backbone is, and which ones there are."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from zoo.preprocess import Preprocess
from zoo.registry import Registry

Features = dict[str, Tensor]


@dataclass(frozen=True)
class Level:
    """One output of a trunk.

    Attributes:
        name: "c2" … "c5": the ResNet stage it comes from (conv2_x … conv5_x of He et al. 2015).
        channels: its channels.
        stride: pixels of the input per step, in both directions.
    """

    name: str
    channels: int
    stride: int


class Backbone(nn.Module, ABC):
    """A trunk: RGB batch [B, 3, H, W], normalised, in; one feature map per declared level out, deepest last.

    Attributes:
        levels: name, channels and stride of each output, known before anything runs.
    """

    levels: tuple[Level, ...]

    @abstractmethod
    def forward(self, images: Tensor) -> Features:
        """Return {"c2": [B, C, H / stride, W / stride], …}."""

    @abstractmethod
    def stages(self) -> Sequence[Sequence[nn.Module]]:
        """Return the modules of the stem, then of every stage: what freezing counts in."""


@dataclass(frozen=True)
class BackboneDefinition:
    """A name in the registry.

    Attributes:
        name: as in `zoo.build(name)`.
        family: where it comes from, for listings ("timm resnet", "CIFAR ResNet").
        create: builds it with fresh parameters.
        preprocess: how its own (classification) weights want their pictures.
        weights: names of the weights that are known for it, the default first.
        load_weights: fetches named weights: state dict in the family's own key layout, and their preprocessing.
    """

    name: str
    family: str
    create: Callable[[], Backbone]
    preprocess: Callable[[], Preprocess]
    weights: Callable[[], tuple[str, ...]] = lambda: ()
    load_weights: Callable[[str], tuple[Mapping[str, Any], Preprocess]] | None = None

    @functools.cached_property
    def levels(self) -> tuple[Level, ...]:
        """The levels, read off an instance without memory."""
        with torch.device("meta"):
            return self.create().levels


BACKBONES: Registry[BackboneDefinition] = Registry(
    "backbone", package="zoo.backbones", entry_points="zoo.backbones", remedy='See them all with: zoo list "*"'
)


def list_backbones(pattern: str = "*") -> list[str]:
    """Return the names of the trunks that match a shell pattern, in natural order.

    Example:
        >>> list_backbones("resnet5?")
        ['resnet50', 'resnet56']
    """
    return BACKBONES.names(pattern)
