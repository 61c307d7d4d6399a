"""The engine openvino, which runs networks with Intel's runtime for CPUs. It has the fastest bf16 and int8 kernels for convolutions."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zoo.engines import ENGINES, GraphEngine, Judge, Network, Runner, Tensors, one_reason, quantise
from zoo.system.onnx_graph import Part
from zoo.system.precision import EnginePrecision
from zoo.system.telemetry import no_statistics


@ENGINES.register("openvino")
class OpenVINO(GraphEngine):
    """OpenVINO on the CPU, with quantisation by NNCF."""

    name = "openvino"
    package = "openvino"
    extra = "openvino"
    distributions = ("openvino", "nncf")
    suffix = ".xml"
    precisions = ("fp32", "bf16", "fp16", "int8")
    takes_bytes = True
    in_memory = True

    def convert(self, network: Network) -> Any:
        """Convert the exported graph.

        It is written to a file and read back, because the graph in memory differs in the last bits, unless it must stay in memory.
        """
        import openvino

        with one_reason(self.name, network), no_statistics():
            model = openvino.convert_model(network.exported())
            _join_prelus(model)
            _name(model, network.name)
            inputs = zip(network.example, network.free, strict=True)  # the converter makes every axis dynamic
            shapes = [[-1 if axis in free else length for axis, length in enumerate(each.shape)] for each, free in inputs]
            model.reshape(dict(enumerate(shapes)))
            if network.in_memory:
                return model
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "network.xml"
                self.write(model, path)
                core = openvino.Core()
                core.set_property({"ENABLE_MMAP": False})  # the file is deleted right after
                return core.read_model(path)

    def quantise(self, converted: Any, samples: Sequence[Tensors], judge: Judge | None = None) -> Any:
        """Quantise the graph with NNCF, without training."""
        # with a judge, NNCF runs the candidates itself, before `_move_outputs` can be applied to them
        spared = [] if judge is None else _after_outputs(converted)
        quantised = quantise(converted, samples, lambda inputs: [each.numpy() for each in inputs], judge, _runner, spared)
        _move_outputs(quantised)
        _name(quantised, converted.get_friendly_name())
        return quantised

    def halved(self, converted: Any, precision: EnginePrecision) -> Any:
        """Return the graph with weights in float16 for bf16, which has fewer digits, and fp16. Processors compute fp16 in float32."""
        from openvino._offline_transformations import compress_model_transformation

        if precision in ("bf16", "fp16"):
            compress_model_transformation(converted)
        return converted

    def write(self, converted: Any, path: Path) -> None:
        """Write the graph as OpenVINO's two files (.xml and .bin), with the weights as they are."""
        import openvino

        openvino.save_model(converted, path, compress_to_fp16=False)

    def read(self, path: Path) -> Any:
        """Read OpenVINO's two files."""
        return _core().read_model(path)

    def read_contents(self, name: str, contents: Mapping[str, bytes | memoryview]) -> Any:
        """Read the contents of OpenVINO's two files."""
        return _core().read_model(bytes(contents[name]), bytes(contents[str(Path(name).with_suffix(".bin"))]))

    def from_onnx(self, graph: Any) -> Any:
        """Convert an ONNX graph."""
        import openvino

        with no_statistics(), tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "graph.onnx"
            path.write_bytes(graph.SerializeToString())
            return openvino.convert_model(path)

    def count_outputs(self, converted: Any) -> int:
        """Return the number of outputs."""
        return len(converted.outputs)

    def join(self, parts: Sequence[Part], inputs: Sequence[str], outputs: Sequence[str]) -> Any:
        """Connect the outputs of the graphs with the inputs of later ones."""
        import openvino

        values, parameters, results = dict[str, Any](), dict[str, Any](), dict[str, Any]()
        for part in parts:
            graph = part.graph.clone()
            for parameter, name in zip(graph.get_parameters(), part.inputs, strict=True):
                if name in values:
                    parameter.output(0).replace(values[name])
                else:
                    parameters[name], values[name] = parameter, parameter.output(0)
            for result, name in zip(graph.get_results(), part.outputs, strict=True):
                values[name], results[name] = result.input_value(0), result
        for name, port in values.items():
            port.get_tensor().set_names({name})
        for name in outputs:  # results have separate names
            results[name].output(0).get_tensor().set_names({name})
        return openvino.Model([results[name] for name in outputs], [parameters[name] for name in inputs], "model")

    def start(self, converted: Any, precision: EnginePrecision, threads: int) -> Runner:
        """Return a runner that compiles the graph at its first call, for dynamic shapes, because fixed shapes were no faster."""
        sessions: dict[tuple[bool, ...], Session] = {}
        own_bytes = [port.get_element_type().to_string() == "u8" for port in converted.inputs]

        def run(*inputs: Tensor) -> Tensors:
            in_bytes = tuple(given and not own for given, own in zip(bytes_among(inputs), own_bytes, strict=True))
            if in_bytes not in sessions:
                sessions[in_bytes] = Session(converted, precision, threads, in_bytes)
            return sessions[in_bytes](*inputs)

        return run


class Session:
    """A network compiled by OpenVINO.

    Feature maps are passed in and out in channels-last layout, which OpenVINO uses internally and in which the maps are pooled. The graph
    accepts uint8 images and scales them to 0–1 as part of its normalisation, which saves two passes through memory.
    """

    def __init__(self, converted: Any, precision: EnginePrecision, threads: int, in_bytes: Sequence[bool], **settings: Any) -> None:
        """Compile a graph. `in_bytes` tells for each input whether it is uint8 or float32. `settings` are further OpenVINO properties."""
        from zoo.system.hardware import cpu_has_bf16

        # the precision hint affects only layers that aren't int8; on a processor with AMX, its default is bf16
        other = "bf16" if precision == "bf16" or (precision == "int8" and cpu_has_bf16()) else "f32"
        hints = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": other, "INFERENCE_NUM_THREADS": threads}
        hints["ENABLE_CPU_PINNING"] = False  # by default, the threads of several processes can be bound to the same cores
        self._taken, self._given = ([_is_map(port) for port in ports] for ports in (converted.inputs, converted.outputs))
        network = _with_interface(converted, self._taken, self._given, in_bytes)
        self.compiled = _core().compile_model(network, "CPU", {**hints, **settings})
        self.request = self.compiled.create_infer_request()

    def __call__(self, *inputs: Tensor) -> Tensors:
        """Return the outputs of the network, which are valid until the next call."""
        ordered = [each.detach().permute(0, 2, 3, 1) if is_map else each.detach() for each, is_map in zip(inputs, self._taken, strict=True)]
        arrays = dict(enumerate(np.ascontiguousarray(each.numpy()) for each in ordered))
        found = self.request.infer(arrays, share_inputs=True, share_outputs=True)
        answers = [torch.from_numpy(found[place]) for place in range(len(found))]
        return tuple(each.permute(0, 3, 1, 2) if is_map else each for each, is_map in zip(answers, self._given, strict=True))


def bytes_among(inputs: Tensors) -> tuple[bool, ...]:
    """Return, for each input, whether it is uint8."""
    return tuple(each.dtype == torch.uint8 for each in inputs)


def _is_map(port: Any) -> bool:
    """Return whether an input or output is a feature map: [B, C, H, W] with more channels than an image."""
    shape = port.get_partial_shape()
    return shape.rank.is_static and len(shape) == 4 and shape[1].is_static and shape[1].get_length() > 4


def _with_interface(converted: Any, taken: Sequence[bool], given: Sequence[bool], in_bytes: Sequence[bool]) -> Any:
    """Return a network with converted inputs and outputs.

    `taken` and `given` tell for each input and output whether it becomes channels-last, [B, H, W, C]; `in_bytes` for each input whether it
    becomes uint8, which the network scales to 0–1.
    """
    from openvino import Layout, Type
    from openvino.preprocess import PrePostProcessor

    if not any([*taken, *given, *in_bytes]):
        return converted
    steps = PrePostProcessor(converted.clone())
    ports = [steps.input(place) for place, chosen in enumerate(taken) if chosen]
    for port in ports + [steps.output(place) for place, chosen in enumerate(given) if chosen]:
        port.model().set_layout(Layout("NCHW"))
        port.tensor().set_layout(Layout("NHWC"))
    for port in [steps.input(place) for place, chosen in enumerate(in_bytes) if chosen]:
        port.tensor().set_element_type(Type.u8)
        port.preprocess().convert_element_type(Type.f32).scale(255.0)
    return steps.build()


@functools.cache
def _core() -> Any:
    """Return the OpenVINO core, of which this process has only one.

    A running core sets an alternate signal stack in its thread, and restores the previous stack when the core is destroyed. If there are
    two cores, and the older one is destroyed first, the newer one later restores the freed stack of the older one. The next signal, such
    as Ctrl-C, then causes a segmentation fault (OpenVINO 2026.4).
    """
    import openvino

    return openvino.Core()


def _join_prelus(model: Any) -> None:
    """Replace every PReLU that consists of three operations with a single operation.

    The converter (2026.4) converts a PReLU to `where(x > 0, x, slopes * x)`, but OpenVINO can only fuse the single operation with the
    preceding convolution.
    """
    from openvino import opset15

    for node in model.get_ordered_ops():
        if node.get_type_name() != "Select":
            continue
        values, (test, scaled) = node.input_value(1), (node.input_value(place).get_node() for place in (0, 2))
        if test.get_type_name() != "Greater" or scaled.get_type_name() != "Multiply" or test.input_value(0) != values:
            continue
        limit, slopes = _constant(test.input_value(1)), [_constant(each) for each in scaled.input_values() if each != values]
        if len(slopes) == 1 and slopes[0] is not None and _per_channel(slopes[0]) and limit is not None and not limit.any():
            node.output(0).replace(opset15.prelu(values, opset15.constant(slopes[0].flatten())).output(0))


def _constant(value: Any) -> NDArray[Any] | None:
    """Return the value of an operation's output if the operation is a constant, otherwise None."""
    node = value.get_node()
    return np.array(node.get_data()) if node.get_type_name() == "Constant" else None


def _per_channel(slopes: NDArray[Any]) -> bool:
    """Return whether there is a single slope, or one slope for each channel: [1, C, 1, …]."""
    return slopes.size == 1 or (slopes.ndim > 1 and slopes.shape[1] == slopes.size)


def _users_of_outputs(model: Any) -> list[Any]:
    """Return the inputs of operations that read an output of the model, such as a detector's pyramid levels."""
    answers = [result.input_value(0) for result in model.get_results()]
    return [user for answer in answers for user in answer.get_target_inputs() if user.get_node().get_type_name() != "Result"]


def _after_outputs(model: Any) -> list[str]:
    """Return the names of all operations that depend on a tensor that is also an output of the model."""
    names, left = dict[str, None](), _users_of_outputs(model)
    while left:
        node = left.pop().get_node()
        if node.get_friendly_name() not in names and node.get_type_name() != "Result":
            names[node.get_friendly_name()] = None
            left += [user for output in node.outputs() for user in output.get_target_inputs()]
    return list(names)


def _move_outputs(model: Any) -> None:
    """Move each output that is also the input of an 8-bit layer, so that it follows the rounding of that input.

    If an output of the model in float is, after rounding, also the input of an 8-bit layer, OpenVINO (2026.4) computes that layer
    incorrectly. The objectness of a detector was zero everywhere.
    """
    for user in _users_of_outputs(model):
        rounding = user.get_node()
        if rounding.get_type_name() == "FakeQuantize" and user.get_index() == 0:
            answer = user.get_source_output()
            answer.get_tensor().set_names(set())
            for other in answer.get_target_inputs():
                if other.get_node().get_type_name() == "Result":
                    other.replace_source_output(rounding.output(0))


def _runner(compiled: Any) -> Runner:
    """Return a runner of a compiled model. Later calls don't overwrite its outputs."""

    def run(*inputs: Tensor) -> Tensors:
        found = compiled([each.numpy() for each in inputs])
        return tuple(torch.from_numpy(found[place]) for place in range(len(found)))

    return run


def _name(model: Any, name: str) -> None:
    """Set the name of the model, and number its inputs and outputs: "input0", "output0", …."""
    model.set_friendly_name(name)
    for kind, ports in (("input", model.inputs), ("output", model.outputs)):
        for place, port in enumerate(ports):
            port.get_tensor().set_names({f"{kind}{place}"})
