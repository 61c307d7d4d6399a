"""The engines eager (plain PyTorch, operation by operation) and inductor (torch.compile, with weights frozen into the code)."""

from __future__ import annotations

import io
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from zoo.engines import ENGINES, Engine, Network, Runner, Tensors
from zoo.images.preprocess import as_float
from zoo.system.hardware import autocast
from zoo.system.logs import errors_alone
from zoo.system.precision import EnginePrecision


@ENGINES.register("eager")
class Eager(Engine):
    """Engine that calls the network's original module without conversion, or a graph that torch.export has stored."""

    name = "eager"
    seconds = 0.0
    converts = False
    suffix = ".pt2"
    takes_bytes = True
    in_memory = True

    def convert(self, network: Network) -> Network:
        """Return the network unchanged."""
        return network

    def write(self, converted: Network, path: Path) -> None:
        """Export the graph with torch.export to a file."""
        torch.export.save(converted.exported(length_one=True), path)

    def read(self, path: Path) -> nn.Module:
        """Read the graph, and remove its assertions about dtypes, because autocast changes dtypes in bf16."""
        return self._read(path)

    def read_contents(self, name: str, contents: Mapping[str, bytes | memoryview]) -> nn.Module:
        """Read the graph from memory, as `read` does."""
        return self._read(io.BytesIO(contents[name]))

    def _read(self, source: Path | io.BytesIO) -> nn.Module:
        with errors_alone("torch.export"):  # it logs the tracebacks of errors that it raises
            module: Any = torch.export.load(source).module()
        for node in list(module.graph.find_nodes(op="call_function", target=torch.ops.aten._assert_tensor_metadata.default)):
            module.graph.erase_node(node)
        module.recompile()
        found: nn.Module = module
        return found

    @staticmethod
    def laid_out(inputs: Tensors) -> Tensors:
        """Return inputs as floats, with images in channels-last memory format."""
        last: Any = torch.channels_last
        return tuple(each.contiguous(memory_format=last) if each.ndim == 4 else each for each in map(as_float, inputs))

    def start(self, converted: Network | nn.Module, precision: EnginePrecision, threads: int) -> Runner:
        """Return a runner that calls the module. torch's global number of threads applies; `threads` is ignored."""
        module = converted.module if isinstance(converted, Network) else converted

        def run(*inputs: Tensor) -> Tensors:
            with torch.inference_mode(), autocast(precision, torch.device("cpu")):
                return tuple(each.float() for each in module(*self.laid_out(inputs)))

        return run


@ENGINES.register("inductor")
class Inductor(Eager):
    """TorchInductor, which generates C++ code and requires a C++ compiler."""

    name = "inductor"
    seconds = 60.0
    in_memory = False  # its cache and the code that it generates contain constants computed from the weights

    @classmethod
    def missing(cls) -> str | None:
        """Return a message if no C++ compiler is found; otherwise None."""
        if any(shutil.which(name) for name in ("g++", "clang++", "c++", "cl")):
            return None
        return "the engine inductor needs a C++ compiler, and none was found: install g++ (Debian: apt install g++)"

    def start(self, converted: Network | nn.Module, precision: EnginePrecision, threads: int) -> Runner:
        """Return a runner that compiles the module at its first call.

        When the length of a dynamic axis changes for the first time, the module is compiled again, for any length.
        """
        module = converted.module if isinstance(converted, Network) else converted
        free = converted.free if isinstance(converted, Network) else ()
        compiled: Any = torch.compile(module, options={"freezing": True})

        def run(*inputs: Tensor) -> Tensors:
            with torch.no_grad(), autocast(precision, torch.device("cpu")):
                laid_out = self.laid_out(inputs)
                for tensor, axes in zip(laid_out, free, strict=False):
                    for axis in axes:
                        if tensor.shape[axis] > 1:
                            torch._dynamo.maybe_mark_dynamic(tensor, axis)
                return tuple(each.float() for each in compiled(*laid_out))

        return run
