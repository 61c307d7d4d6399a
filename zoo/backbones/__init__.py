"""The registry of trunks: what a backbone is, and which ones there are."""

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
    """One output of a trunk.

    Attributes:
        name: "c2" … "c5": the ResNet stage it comes from (conv2_x … conv5_x of He et al. 2015); "c6" of a trunk with one more.
        channels: its channels.
        stride: pixels of the input per step, in both directions.
        field: pixels of the input that its first place takes; 1 where every convolution pads, as in ResNet.
    """

    name: str
    channels: int
    stride: int
    field: int = 1

    def places(self, side: int) -> int:
        """Return how many places a side of the input gives: ceil(side / stride) where every convolution pads."""
        return (side - self.field) // self.stride + 1


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
        load_weights: fetches named weights: a state dict in the family's own key layout, or a file that holds one, and their preprocessing.
        options: by task, the options that a model on this trunk has unless its weights or the caller say otherwise: of a face network
            the size and alignment of its pictures, and how its features become an embedding.
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
