"""Residual adapters, which fit a frozen backbone to another head without changing it (Rebuffi et al. 2017, arXiv 1705.08045)."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from zoo.errors import InputError

if TYPE_CHECKING:
    from zoo.backbones import Backbone


class Adapters(nn.Module):
    """The adapters of one head: a 1×1 convolution α after every spatial convolution of the backbone's stages, which outputs y + α * y.

    All α are 0 at first, so that the features are those of the backbone.
    """

    def __init__(self, backbone: Backbone) -> None:
        """Create the adapters for a backbone.

        Raises:
            InputError: the backbone has no convolution that can be adapted.
        """
        super().__init__()
        spatial = _convolutions(backbone)
        if not spatial:
            raise InputError("adapters: the stages of this backbone have no convolutions larger than 1×1; freeze fewer layers instead")
        self.convolutions = nn.ModuleDict({_key(name): _zero(each.out_channels) for name, each in spatial.items()})

    @contextmanager
    def applied(self, backbone: Backbone) -> Iterator[None]:
        """Return a context in which the backbone computes the adapted features."""
        handles = [
            each.register_forward_hook(partial(_adapted, self.convolutions[_key(name)])) for name, each in _convolutions(backbone).items()
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    @torch.no_grad()
    def folded(self, backbone: Backbone) -> Backbone:
        """Return a copy of the backbone whose weights include the adapters. It computes the same features apart from rounding."""
        copied = copy.deepcopy(backbone)
        for name, each in _convolutions(copied).items():
            adapter = self.convolutions[_key(name)]
            assert isinstance(adapter, nn.Conv2d)
            alpha = adapter.weight.flatten(1)
            each.weight += torch.einsum("oc,cihw->oihw", alpha, each.weight)
            if each.bias is not None:
                each.bias += alpha @ each.bias
        return copied


def _convolutions(backbone: Backbone) -> dict[str, nn.Conv2d]:
    """Return the spatial convolutions of the stages, without the stem, by name."""
    inside = {module for stage in backbone.stages()[1:] for block in stage for module in block.modules()}
    found = {name: module for name, module in backbone.named_modules() if module in inside and isinstance(module, nn.Conv2d)}
    return {name: module for name, module in found.items() if max(module.kernel_size) > 1}


def _key(name: str) -> str:
    return name.replace(".", "-")


def _zero(channels: int) -> nn.Conv2d:
    convolution = nn.Conv2d(channels, channels, 1, bias=False)
    nn.init.zeros_(convolution.weight)
    return convolution


def _adapted(adapter: nn.Module, convolution: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    residual: Tensor = adapter(output)
    return output + residual
