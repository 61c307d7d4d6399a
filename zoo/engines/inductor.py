"""The engine inductor: torch.compile, with the weights frozen into the generated code."""

from __future__ import annotations

import shutil
from typing import Any

import torch
from torch import Tensor, nn

from zoo.engines import ENGINES, Network, Runner, Tensors, TorchEngine
from zoo.images.preprocess import as_float
from zoo.system.hardware import autocast
from zoo.system.precision import EnginePrecision

_LAST: Any = torch.channels_last


@ENGINES.register("inductor")
class Inductor(TorchEngine):
    """TorchInductor, which generates C++ code and needs a compiler for it."""

    name = "inductor"
    seconds = 60.0
    takes_bytes = True

    @classmethod
    def missing(cls) -> str | None:
        """Return a message if no C++ compiler is found; otherwise None."""
        if any(shutil.which(name) for name in ("g++", "clang++", "c++", "cl")):
            return None
        return "the engine inductor needs a C++ compiler, and none was found: install g++ (Debian: apt install g++)"

    def start(self, converted: Network | nn.Module, precision: EnginePrecision, threads: int) -> Runner:
        """Return a runner that compiles at its first call, and once more, for any length, when the length of a dynamic axis changes."""
        module = converted.module if isinstance(converted, Network) else converted
        free = converted.free if isinstance(converted, Network) else ()
        compiled: Any = torch.compile(module, options={"freezing": True})

        def run(*inputs: Tensor) -> Tensors:
            with torch.no_grad(), autocast(precision, torch.device("cpu")):
                laid_out = tuple(each.contiguous(memory_format=_LAST) if each.ndim == 4 else each for each in map(as_float, inputs))
                for tensor, axes in zip(laid_out, free, strict=False):
                    for axis in axes:
                        if tensor.shape[axis] > 1:
                            torch._dynamo.maybe_mark_dynamic(tensor, axis)
                found: Tensors = compiled(*laid_out)
                return tuple(each.float() for each in found)

        return run
