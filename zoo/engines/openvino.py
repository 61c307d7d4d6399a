"""OpenVINO: Intel's runtime for processors, whose bf16 and int8 kernels are the quickest there are for convolutions."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zoo.engines import ENGINES, Engine, EnginePrecision, Judge, Network, Runner, Tensors, one_reason


@ENGINES.register("openvino")
class OpenVINO(Engine):
    """OpenVINO on the CPU; quantisation by NNCF."""

    name = "openvino"
    package = "openvino"
    extra = "openvino"
    distributions = ("openvino", "nncf")
    suffix = ".xml"
    precisions = ("fp32", "bf16", "int8")
    takes_bytes = True

    def convert(self, network: Network) -> Any:
        """Convert the exported graph, and read it as it is read from the cache: straight from the converter its last bits differ."""
        import openvino

        with one_reason(self.name, network), tempfile.TemporaryDirectory() as folder:
            model = openvino.convert_model(network.exported())
            _join_prelus(model)
            _name(model, network.name)
            # the converter takes every axis for a free one
            shapes = [
                [-1 if axis in free else length for axis, length in enumerate(each.shape)]
                for each, free in zip(network.example, network.free, strict=True)
            ]
            model.reshape(dict(enumerate(shapes)))
            path = Path(folder) / "network.xml"
            self.write(model, path)
            core = openvino.Core()
            core.set_property({"ENABLE_MMAP": False})  # the file is gone in a moment
            return core.read_model(path)

    def quantise(self, converted: Any, samples: Sequence[Tensors], judge: Judge | None = None) -> Any:
        """Quantise after training."""
        from zoo.engines import quantise

        # NNCF runs what is judged itself, before answers can be moved
        spared = [] if judge is None else _after_answers(converted)
        quantised = quantise(converted, samples, lambda inputs: [each.numpy() for each in inputs], judge, _runner, spared)
        _move_answers(quantised)
        _name(quantised, converted.get_friendly_name())
        return quantised

    def write(self, converted: Any, path: Path) -> None:
        """Write OpenVINO's two files; weights stay float32."""
        import openvino

        openvino.save_model(converted, path, compress_to_fp16=False)

    def read(self, path: Path) -> Any:
        """Read them."""
        return _core().read_model(path)

    def start(self, converted: Any, precision: EnginePrecision, threads: int) -> Runner:
        """Compile at the first call, for every shape that is free: graphs for single shapes were no quicker."""
        sessions: dict[tuple[bool, ...], Session] = {}

        def run(*inputs: Tensor) -> Tensors:
            in_bytes = bytes_among(inputs)
            if in_bytes not in sessions:
                sessions[in_bytes] = Session(converted, precision, threads, in_bytes)
            return sessions[in_bytes](*inputs)

        return run


class Session:
    """A compiled network. Maps of features go in and out channels last, as OpenVINO keeps them inside, and as they are pooled.

    Pictures of bytes are taken as they are, and become 0–1 in the graph, together with its normalisation: that saves two passes through
    memory.

    Attributes:
        compiled: OpenVINO's compiled model.
        request: what computes it.
    """

    def __init__(self, converted: Any, precision: EnginePrecision, threads: int, in_bytes: Sequence[bool], **settings: Any) -> None:
        """Compile.

        Args:
            converted: the network.
            precision: that it is computed in.
            threads: likewise.
            in_bytes: which of its inputs are pictures in uint8; the others are float32.
            **settings: more of OpenVINO's properties.
        """
        from zoo.system.hardware import cpu_has_bf16

        # int8 layers are int8 whatever the hint; it is about the others. On a processor with AMX the default would be bf16
        other = "bf16" if precision == "bf16" or (precision == "int8" and cpu_has_bf16()) else "f32"
        hints = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": other, "INFERENCE_NUM_THREADS": threads}
        self._taken, self._given = ([_is_map(port) for port in ports] for ports in (converted.inputs, converted.outputs))
        network = _as_handed(converted, self._taken, self._given, in_bytes)
        self.compiled = _core().compile_model(network, "CPU", {**hints, **settings})
        self.request = self.compiled.create_infer_request()

    def __call__(self, *inputs: Tensor) -> Tensors:
        """Compute; the answers are good until the next call."""
        ordered = [each.detach().permute(0, 2, 3, 1) if is_map else each.detach() for each, is_map in zip(inputs, self._taken, strict=True)]
        arrays = dict(enumerate(np.ascontiguousarray(each.numpy()) for each in ordered))
        found = self.request.infer(arrays, share_inputs=True, share_outputs=True)
        answers = [torch.from_numpy(found[place]) for place in range(len(found))]
        return tuple(each.permute(0, 3, 1, 2) if is_map else each for each, is_map in zip(answers, self._given, strict=True))


def bytes_among(inputs: Tensors) -> tuple[bool, ...]:
    """Tell which of these are in uint8."""
    return tuple(each.dtype == torch.uint8 for each in inputs)


def _is_map(port: Any) -> bool:
    """Tell whether a number of a network is [B, C, H, W] with more channels than a picture has."""
    shape = port.get_partial_shape()
    return shape.rank.is_static and len(shape) == 4 and shape[1].is_static and shape[1].get_length() > 4


def _as_handed(converted: Any, taken: Sequence[bool], given: Sequence[bool], in_bytes: Sequence[bool]) -> Any:
    """Return a copy of a network that takes and gives these of its numbers as [B, H, W, C], and takes those in bytes, for 0–1."""
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
    """Return the one core of this process.

    A core that computes gives its thread a stack for signals, and takes it away in the end. When the first of two goes first, the second
    one gives back the stack of the first, which is gone, and the next signal, such as Ctrl-C, is a segmentation fault (OpenVINO 2026.4).
    """
    import openvino

    return openvino.Core()


def _join_prelus(model: Any) -> None:
    """Put one operation in the place of the three that the converter (2026.4) makes of a PReLU: `where(x > 0, x, slopes * x)`.

    Only that one is computed together with the convolution before it.
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
    """Return a number of a network that is always the same; None for others."""
    node = value.get_node()
    return np.array(node.get_data()) if node.get_type_name() == "Constant" else None


def _per_channel(slopes: NDArray[Any]) -> bool:
    """Tell whether there is one slope, or one for each channel: [1, C, 1, …]."""
    return slopes.size == 1 or (slopes.ndim > 1 and slopes.shape[1] == slopes.size)


def _users_of_answers(model: Any) -> list[Any]:
    """Return the inputs that take a number which is an answer too: those of a detector's first stage take the levels of the pyramid."""
    answers = [result.input_value(0) for result in model.get_results()]
    return [user for answer in answers for user in answer.get_target_inputs() if user.get_node().get_type_name() != "Result"]


def _after_answers(model: Any) -> list[str]:
    """Return the names of all operations that come after a number which is an answer too."""
    names, left = dict[str, None](), _users_of_answers(model)
    while left:
        node = left.pop().get_node()
        if node.get_friendly_name() not in names and node.get_type_name() != "Result":
            names[node.get_friendly_name()] = None
            left += [user for output in node.outputs() for user in output.get_target_inputs()]
    return list(names)


def _move_answers(model: Any) -> None:
    """Answer what was rounded for the next layer, where an answer goes into one too.

    Where one number is both, in float for the answer and rounded for a layer of 8 bits, OpenVINO (2026.4) computes that layer wrong: a
    detector's objectness was zero everywhere.
    """
    for user in _users_of_answers(model):
        rounding = user.get_node()
        if rounding.get_type_name() == "FakeQuantize" and user.get_index() == 0:
            answer = user.get_source_output()
            answer.get_tensor().set_names(set())
            for other in answer.get_target_inputs():
                if other.get_node().get_type_name() == "Result":
                    other.replace_source_output(rounding.output(0))


def _runner(compiled: Any) -> Runner:
    """Return what calls a compiled model; its answers are its own."""

    def run(*inputs: Tensor) -> Tensors:
        found = compiled([each.numpy() for each in inputs])
        return tuple(torch.from_numpy(found[place]) for place in range(len(found)))

    return run


def _name(model: Any, name: str) -> None:
    """Give inputs and outputs names that don't change."""
    model.set_friendly_name(name)
    for kind, ports in (("input", model.inputs), ("output", model.outputs)):
        for place, port in enumerate(ports):
            port.get_tensor().set_names({f"{kind}{place}"})
