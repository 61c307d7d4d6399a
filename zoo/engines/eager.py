"""The engine eager: plain PyTorch, operation by operation, in channels-last memory format."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from zoo.engines import ENGINES, Network, Runner, Tensors, TorchEngine
from zoo.images.preprocess import as_float
from zoo.system.hardware import autocast
from zoo.system.precision import EnginePrecision

_LAST: Any = torch.channels_last


@ENGINES.register("eager")
class Eager(TorchEngine):
    """Engine that calls the network's own module, or its exported graph."""

    name = "eager"
    seconds = 0.0
    takes_bytes = True

    def start(self, converted: Network | nn.Module, precision: EnginePrecision, threads: int) -> Runner:
        """Return a runner that calls the module; torch's global number of threads applies, not `threads`."""
        module = converted.module if isinstance(converted, Network) else converted

        def run(*inputs: Tensor) -> Tensors:
            with torch.inference_mode(), autocast(precision, torch.device("cpu")):
                found: Tensors = module(*(_laid_out(each) for each in inputs))
                return tuple(each.float() for each in found)

        return run


def _laid_out(tensor: Tensor) -> Tensor:
    tensor = as_float(tensor)
    return tensor.contiguous(memory_format=_LAST) if tensor.ndim == 4 else tensor
