"""The engine onnxruntime, which runs ONNX graphs."""

from __future__ import annotations

import io
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zoo.engines import ENGINES, GraphEngine, Judge, Network, Runner, Tensors, one_reason, quantise
from zoo.images.preprocess import as_float
from zoo.system.logs import errors_alone
from zoo.system.onnx_graph import Part, join
from zoo.system.precision import EnginePrecision


@ENGINES.register("onnxruntime")
class OnnxRuntime(GraphEngine):
    """ONNX Runtime on the CPU, with quantisation by NNCF."""

    name = "onnxruntime"
    package = "onnxruntime"
    extra = "onnx"
    distributions = ("onnx", "onnxscript", "onnxruntime", "nncf")
    suffix = ".onnx"
    precisions = ("fp32", "fp16", "int8")
    takes_bytes = True
    in_memory = True

    def convert(self, network: Network) -> Any:
        """Convert the exported graph to ONNX in memory, and validate it with onnx.checker."""
        import onnx

        with one_reason(self.name, network):
            names = [f"input{place}" for place in range(len(network.example))]
            with warnings.catch_warnings(), redirect_stdout(io.StringIO()), errors_alone("torch.onnx", "onnxscript", "onnx_ir"):
                warnings.simplefilter("ignore")
                program = torch.onnx.export(network.exported(), dynamo=True, input_names=names, verbose=False)
                assert program is not None
                graph = program.model_proto
            onnx.checker.check_model(graph, full_check=True)
            return graph

    def quantise(self, converted: Any, samples: Sequence[Tensors], judge: Judge | None = None) -> Any:
        """Quantise the graph with NNCF, without training."""
        names, threads = [each.name for each in converted.graph.input], torch.get_num_threads()
        # NNCF passes each candidate as a graph
        return quantise(converted, samples, lambda inputs: _feed(names, inputs), judge, lambda graph: self.start(graph, "int8", threads))

    def halved(self, converted: Any, precision: EnginePrecision) -> Any:
        """Return the graph with weights and operations in float16 for fp16. On processors without float16, ONNX Runtime uses float32."""
        if precision != "fp16":
            return converted
        import onnx_ir

        with _path_kept(), errors_alone("onnxruntime.transformers.float16"):
            from onnxruntime.transformers.float16 import convert_float_to_float16

            made = onnx_ir.from_proto(convert_float_to_float16(converted, keep_io_types=True))
        made.graph.sort()  # the conversion appends its casts at the end
        return onnx_ir.to_proto(made)

    def write(self, converted: Any, path: Path) -> None:
        """Write the graph to one file."""
        import onnx

        onnx.save(converted, path)

    def read(self, path: Path) -> Any:
        """Read the graph."""
        import onnx

        return onnx.load(path)

    def read_contents(self, name: str, contents: Mapping[str, bytes | memoryview]) -> Any:
        """Read the graph from memory."""
        import onnx

        return onnx.load_from_string(bytes(contents[name]))

    def from_onnx(self, graph: Any) -> Any:
        """Return the graph."""
        return graph

    def count_outputs(self, converted: Any) -> int:
        """Return the number of outputs."""
        return len(converted.graph.output)

    def join(self, parts: Sequence[Part], inputs: Sequence[str], outputs: Sequence[str]) -> Any:
        """Join the graphs, and validate the result with onnx.checker."""
        return join(parts, inputs, outputs)

    def start(self, converted: Any, precision: EnginePrecision, threads: int) -> Runner:
        """Create a session for the graph, and return its runner."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 4  # suppress log messages: errors are raised in any case
        session = onnxruntime.InferenceSession(converted.SerializeToString(), options, providers=["CPUExecutionProvider"])
        names = [each.name for each in session.get_inputs()]
        in_bytes = [each.type == "tensor(uint8)" for each in session.get_inputs()]

        def run(*inputs: Tensor) -> Tensors:
            return tuple(torch.from_numpy(found) for found in session.run(None, _feed(names, inputs, in_bytes)))

        return run


@contextmanager
def _path_kept() -> Iterator[None]:
    """Restore sys.path at the end of the body, since the package onnxruntime.transformers adds its folder to it."""
    before = [*sys.path]
    try:
        yield
    finally:
        sys.path[:] = before


def _feed(names: Sequence[str], inputs: Tensors, in_bytes: Sequence[bool] | None = None) -> dict[str, NDArray[Any]]:
    """Return the inputs by name: floats, or bytes where a graph takes them."""
    found = {}
    for name, each, stays in zip(names, inputs, in_bytes or [False] * len(names), strict=True):
        found[name] = np.ascontiguousarray((each if stays else as_float(each)).detach().numpy())
    return found
