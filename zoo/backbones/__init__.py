"""Registry of backbones, and the interface that every backbone implements."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from zoo.images.preprocess import Preprocess
from zoo.registry import Registry

Features = dict[str, Tensor]


@dataclass(frozen=True)
class Level:
    """One output feature map of a backbone.

    Attributes:
        name: the ResNet stage it comes from: "c2" … "c5" (conv2_x … conv5_x of He et al. 2015), "c6" for a backbone with one more stage.
        channels: number of channels.
        stride: input pixels per step of the map, in both directions.
        field: input pixels that the first position of the map covers; 1 where every convolution pads, as in ResNet.
    """

    name: str
    channels: int
    stride: int
    field: int = 1

    def places(self, side: int) -> int:
        """Return the length of the map for an input side in pixels: ceil(side / stride) where every convolution pads."""
        return (side - self.field) // self.stride + 1


class Backbone(nn.Module, ABC):
    """Base class of backbones: maps a normalised RGB batch [B, 3, H, W] to one feature map per declared level, deepest last.

    Attributes:
        levels: name, channels and stride of each output, available before the first forward pass.
    """

    levels: tuple[Level, ...]

    @abstractmethod
    def forward(self, images: Tensor) -> Features:
        """Return {"c2": [B, C, H / stride, W / stride], …}."""

    @abstractmethod
    def stages(self) -> Sequence[Sequence[nn.Module]]:
        """Return the modules of the stem, then those of each stage: the units in which a backbone is frozen."""

    def from_stem(self, x: Tensor) -> Features:
        """Return the features, given the output of the stem, where each stage applies its modules in order and gives one level."""
        features = {}
        for level, stage in zip(self.levels, self.stages()[1:], strict=True):
            for module in stage:
                x = module(x)
            features[level.name] = x
        return features


@dataclass(frozen=True)
class BackboneDefinition:
    """Registry entry of a backbone.

    Attributes:
        name: the name that `zoo.build` takes.
        family: the source, for listings ("timm resnet", "CIFAR ResNet").
        create: function that builds the backbone with fresh parameters.
        preprocess: function that returns the preprocessing of the backbone's classification weights.
        weights: function that returns the names of the backbone's known weights, the default first.
        load_weights: function that fetches weights by name and returns a state dict in the family's own key layout, or a file that holds
            one, and the preprocessing.
        options: default task options by task name, overridden by the weights and by the caller; for a face network the image size, the
            alignment, and how features become an embedding.
    """

    name: str
    family: str
    create: Callable[[], Backbone]
    preprocess: Callable[[], Preprocess]
    weights: Callable[[], tuple[str, ...]] = lambda: ()
    load_weights: Callable[[str], tuple[Mapping[str, Any] | Path, Preprocess]] | None = None
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @functools.cached_property
    def levels(self) -> tuple[Level, ...]:
        """The levels, read from an instance on the meta device."""
        with torch.device("meta"):
            return self.create().levels


BACKBONES: Registry[BackboneDefinition] = Registry(
    "backbone", package="zoo.backbones", entry_points="zoo.backbones", remedy='See them all with: zoo list "*"'
)


def list_backbones(pattern: str = "*") -> list[str]:
    """Return the names of the backbones that match a shell pattern, in natural order.

    Example:
        >>> list_backbones("resnet5?")
        ['resnet50', 'resnet56']
    """
    return BACKBONES.names(pattern)
