"""PyTorch as it is: operation by operation, channels last."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from zoo.engines import ENGINES, Engine, EnginePrecision, Network, Runner, Tensors
from zoo.hardware import autocast

_LAST: Any = torch.channels_last


@ENGINES.register("eager")
class Eager(Engine):
    """The network's own module, or its exported graph."""

    name = "eager"
    converts = False
    seconds = 0.0
    suffix = ".pt2"

    def convert(self, network: Network) -> Network:
        """Take the network as it is."""
        return network

    def write(self, converted: Network, path: Path) -> None:
        """Export the graph."""
        torch.export.save(converted.exported(), path)

    def read(self, path: Path) -> nn.Module:
        """Read the graph."""
        return torch.export.load(path).module()

    def start(self, converted: Network | nn.Module, precision: EnginePrecision, threads: int) -> Runner:
        """Call the module; torch's own number of threads holds."""
        module = converted.module if isinstance(converted, Network) else converted

        def run(*inputs: Tensor) -> Tensors:
            with torch.inference_mode(), autocast(precision, torch.device("cpu")):
                found: Tensors = module(*(_laid_out(each) for each in inputs))
                return tuple(each.float() for each in found)

        return run


def _laid_out(tensor: Tensor) -> Tensor:
    return tensor.contiguous(memory_format=_LAST) if tensor.ndim == 4 else tensor
