"""Backbones: the interface that all implement, their registry, and freezing their stages."""

from __future__ import annotations

import functools
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from zoo.errors import InputError
from zoo.images.preprocess import Preprocess
from zoo.registry import Registry

Features = dict[str, Tensor]
_STAGES = re.compile(r"stages=(\d+)")  # a value of `freeze`


@dataclass(frozen=True)
class Level:
    """One output feature map of a backbone.

    Attributes:
        name: name of the ResNet stage that outputs the map: "c2" … "c5" (conv2_x … conv5_x in He et al. 2015), or "c6" for an additional
            stage.
        channels: number of channels.
        stride: distance between neighbouring positions of the map in input pixels, in height and width.
        field: height and width in input pixels of the area covered by the first position of the map, which is the smallest input height
            and width for which the map isn't empty; 1 if every convolution is padded, as in ResNet.
    """

    name: str
    channels: int
    stride: int
    field: int = 1

    def places(self, side: int) -> int:
        """Return the side of the map for an input side in pixels. It is ceil(side / stride) if every convolution is padded."""
        return (side - self.field) // self.stride + 1


class Backbone(nn.Module, ABC):
    """Base class of backbones.

    A backbone maps a batch of normalised RGB images [B, 3, H, W] to one feature map per declared level, deepest last.

    Attributes:
        levels: declared levels, one per output, available before the first forward pass.
    """

    levels: tuple[Level, ...]

    @abstractmethod
    def forward(self, images: Tensor) -> Features:
        """Return the feature maps by level name: {"c2": [B, C, H / stride, W / stride], …}."""

    @abstractmethod
    def stages(self) -> Sequence[Sequence[nn.Module]]:
        """Return the modules of the stem, followed by the modules of each stage. Backbones are frozen in these units."""

    def from_stem(self, x: Tensor) -> Features:
        """Return the feature maps for the output of the stem. Each stage must apply its modules in order and output one level."""
        features = {}
        for level, stage in zip(self.levels, self.stages()[1:], strict=True):
            for module in stage:
                x = module(x)
            features[level.name] = x
        return features


UNKNOWN, RESEARCH = "unknown", "research only"  # values of `Licence.licence` beside SPDX identifiers
_PERMISSIVE = {"0bsd", "apache-2.0", "bsd-2-clause", "bsd-3-clause", "bsl-1.0", "cc-by-4.0", "cc0-1.0", "isc", "mit", "unlicense", "zlib"}


@dataclass(frozen=True)
class Licence:
    """Licence of weights, as their authors state it.

    Attributes:
        weights: name or path of the weights.
        licence: SPDX identifier, "research only" for other terms that exclude commercial use, or "unknown" if the authors state none.
        source: URL or paper of the weights; empty if unknown.
        note: remark, such as the reason why the licence is unknown.
    """

    weights: str
    licence: str = UNKNOWN
    source: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        if not all(isinstance(value, str) for value in (self.weights, self.licence, self.source, self.note)):
            raise TypeError("the values of a licence are not all texts")

    @property
    def permissive(self) -> bool:
        """Whether the licence allows commercial use and demands nothing but attribution; False if it is unknown."""
        return self.licence.lower() in _PERMISSIVE

    @property
    def research_only(self) -> bool:
        """Whether the licence excludes commercial use."""
        return self.licence == RESEARCH or "-nc" in self.licence.lower()

    def to_dict(self) -> dict[str, str]:
        """Return the representation in model.json, without an empty note."""
        return {name: value for name, value in asdict(self).items() if value or name != "note"}


@dataclass(frozen=True)
class BackboneDefinition:
    """Registry entry of a backbone.

    Attributes:
        name: name of the backbone, as passed to `zoo.build`.
        family: source of the architecture, for listings ("timm resnet", "CIFAR ResNet").
        create: function that builds the backbone with fresh parameters.
        preprocess: function that returns the default preprocessing for the backbone.
        weights: function that returns the names of all known weights for the backbone, the default first.
        load_weights: function that fetches weights by name. It returns a state dict in the family's key layout, or the path
            of such a file, and the preprocessing. None if there are no named weights.
        licence: function that returns the licence of weights by name.
        options: default task options by task name. The options stored with weights, and those of the caller, override them. For a face
            network, they are the image size, the alignment and the layers that compute the embedding.
    """

    name: str
    family: str
    create: Callable[[], Backbone]
    preprocess: Callable[[], Preprocess]
    weights: Callable[[], tuple[str, ...]] = lambda: ()
    load_weights: Callable[[str], tuple[Mapping[str, Any] | Path, Preprocess]] | None = None
    licence: Callable[[str], Licence] = Licence
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @functools.cached_property
    def levels(self) -> tuple[Level, ...]:
        """The levels of the backbone, obtained from an instance on the meta device."""
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


def frozen_stages(backbone: Backbone, what: str) -> tuple[int, bool]:
    """Parse a `freeze` value; the syntax is described at `zoo.freeze`.

    Returns:
        The number of frozen stages, counting the stem as the first stage, and whether all batch-norms are frozen.
    """
    count, norm, last = 0, False, len(backbone.stages()) - 1
    for word in what.split(","):
        stages = _STAGES.fullmatch(word)
        if word not in ("none", "trunk", "norm") and (stages is None or int(stages[1]) > last):
            raise InputError(
                f"freeze is {what!r}; expected 'none', 'trunk', 'stages=N' with N up to {last}, 'norm', or two of them: 'stages=1,norm'"
            )
        norm = norm or word == "norm"
        count = max(count, {"trunk": last + 1}.get(word, int(stages[1]) + 1 if stages is not None else 0))
    return count, norm


def apply_freeze(backbone: Backbone, what: str) -> tuple[nn.Module, ...]:
    """Disable gradients for the frozen layers of a backbone, and enable them for all others.

    Returns:
        The frozen modules, which the caller must keep in evaluation mode.
    """
    count, norm = frozen_stages(backbone, what)
    stages = backbone.stages()
    backbone.requires_grad_(True)
    # a backbone may have parameters outside its stages
    frozen: list[nn.Module] = [backbone] if count == len(stages) else [module for stage in stages[:count] for module in stage]
    if norm:
        frozen += [module for module in backbone.modules() if isinstance(module, _BatchNorm)]
    for module in frozen:
        module.requires_grad_(False)
    return tuple(frozen)
