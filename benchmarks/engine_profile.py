"""Profile the layers of a model that runs on OpenVINO: `python -m zoo.benchmarks.engine_profile`.

Predictions for a batch of photos are computed repeatedly, and OpenVINO's counters measure the time of every layer. The table shows the
mean times by network and layer type; they add up to the mean time of a call. It also shows the number of operations, their rate, and the
fraction of the processor's peak performance that this rate reaches. The peak is that of large matrix multiplications, measured in the same
run. Layers that are far below the peak and move many bytes are limited by memory bandwidth. The row "everything else" is the time outside
all layers: checking and copying the images and, for detection, selecting proposals and pooling their features.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from itertools import cycle, islice
from typing import Any

import cv2
import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from zoo import Model, build
from zoo.benchmarks.harness.command import Flags, benchmark, flag, log, make_table, report, timed
from zoo.benchmarks.harness.inputs import calibration, network_flags, photo_files
from zoo.benchmarks.harness.measurement import peaks
from zoo.compilation.source import Source
from zoo.engines import Runner, Tensors
from zoo.engines.openvino import OpenVINO, Session, bytes_among
from zoo.errors import InputError, check_positive
from zoo.images import decoding
from zoo.images.preprocess import ImageBatch
from zoo.system.precision import EnginePrecision
from zoo.system.progress import Progress

_BYTES = {"f32": 4, "i32": 4, "u32": 4, "bf16": 2, "f16": 2, "i8": 1, "u8": 1, "boolean": 1}
_TYPES = {"i8": "int8", "u8": "int8", "bf16": "bf16"}  # precision of the arithmetic by OpenVINO's type; other types are fp32


@dataclass(frozen=True)
class Layer:
    """Operation of the compiled graph, such as a convolution fused with the following activation and addition."""

    network: str
    name: str  # OpenVINO's name of the layer, which ends in a number
    kind: str  # kind of layer, such as "Convolution 3×3"
    kernel: str  # OpenVINO's name of the kernel
    precision: str  # "fp32", "bf16" or "int8"
    seconds: float  # mean time per call in seconds
    operations: float  # number of multiplications and additions; 0 for layers that are not matrix multiplications or convolutions
    bytes: float  # bytes read and written, weights included


@dataclass(frozen=True)
class Profile:
    """Mean time of a call, in total and by layer."""

    call_s: float  # mean time of a whole call in seconds
    layers: tuple[Layer, ...]  # layers of all networks, in their order of execution

    @property
    def rest_s(self) -> float:
        """Time spent outside all layers in seconds per call."""
        return self.call_s - sum(layer.seconds for layer in self.layers)

    def kinds(self) -> list[tuple[int, Layer]]:
        """Group the layers by network, kind and precision; return the number of layers and their sums for each group, slowest first."""
        groups: dict[tuple[str, str, str], list[Layer]] = {}
        for layer in self.layers:
            groups.setdefault((layer.network, layer.kind, layer.precision), []).append(layer)
        found = []
        for group in groups.values():
            sums: dict[str, Any] = {name: sum(getattr(layer, name) for layer in group) for name in ("seconds", "operations", "bytes")}
            found.append((len(group), replace(group[0], **sums)))
        return sorted(found, key=lambda each: -each[1].seconds)


@dataclass
class _Counted:
    """Network compiled for one input shape, with counters for its layers."""

    network: str
    session: Session
    runs: int = 0  # number of runs so far
    before: int = 0  # number of runs at the start that are excluded from the result
    before_s: dict[str, float] = field(default_factory=dict)  # mean seconds of each layer in the excluded runs

    def means(self) -> dict[str, float]:
        """Return the mean time in seconds of every executed layer over all runs, from OpenVINO's counters."""
        executed = [each for each in self.session.request.profiling_info if each.status == each.Status.EXECUTED]
        return {each.node_name: each.real_time.total_seconds() for each in executed}

    def counted_s(self) -> dict[str, float]:
        """Return the mean time in seconds of every layer over the runs that are not excluded."""
        counted = self.runs - self.before
        totals = {name: mean * self.runs - self.before_s.get(name, 0.0) * self.before for name, mean in self.means().items()}
        return {name: max(0.0, total / counted) for name, total in totals.items()}

    def layers(self) -> Iterator[Layer]:
        """Yield the layers in their order of execution."""
        seconds = self.counted_s()
        for node in self.session.compiled.get_runtime_model().get_ordered_ops():
            if node.get_friendly_name() in seconds:
                yield _layer(self.network, node, seconds[node.get_friendly_name()])


class Counting(OpenVINO):
    """OpenVINO engine with counters. It compiles a network for every input shape, so that the sizes of all layers are known."""

    def __init__(self) -> None:
        self._counted: dict[object, _Counted] = {}  # by network name, input shapes and whether the inputs are bytes

    def forget(self) -> None:
        """Exclude all runs so far from the result."""
        for each in self._counted.values():
            each.before, each.before_s = each.runs, each.means()

    def start(self, converted: Any, precision: EnginePrecision, threads: int) -> Runner:
        """Return a runner that compiles the network when it receives the first input of a shape."""
        name = converted.get_friendly_name()

        def run(*inputs: Tensor) -> Tensors:
            shapes, in_bytes = tuple(tuple(each.shape) for each in inputs), bytes_among(inputs)
            counted = self._counted.get((name, shapes, in_bytes))
            if counted is None:
                fixed = converted.clone()
                fixed.reshape(dict(enumerate(map(list, shapes))))
                counted = _Counted(name, Session(fixed, precision, threads, in_bytes, PERF_COUNT=True))
                self._counted[name, shapes, in_bytes] = counted
            counted.runs += 1
            return counted.session(*inputs)

        return run

    def layers(self) -> tuple[Layer, ...]:
        """Return the layers of all networks that have run since `forget` was called."""
        return tuple(layer for each in self._counted.values() if each.runs > each.before for layer in each.layers())


def _layer(network: str, node: Any, seconds: float) -> Layer:
    """Create a `Layer` from a node of a compiled graph with static shapes."""
    info = _info(node)
    inputs, outputs = ([tuple(port.get_shape()) for port in ports] for ports in (node.inputs(), node.outputs()))
    kind, weights = info["layerType"], inputs[1] if len(inputs) > 1 else ()
    inner = 0
    if kind == "Convolution":
        kind, inner = f"Convolution {weights[-2]}×{weights[-1]}", math.prod(weights[-3:])
    elif kind in ("FullyConnected", "MatMul"):
        inner = inputs[0][-1]
    own = info["runtimePrecision"]
    moved = sum(math.prod(shape) for shape in outputs) * _BYTES.get(info["outputPrecisions"].split(",")[0], 4)
    for port, shape in zip(node.inputs(), inputs, strict=True):
        source = _info(port.get_source_output().get_node())
        # weights are stored in the layer's precision, even if the graph reports a different one
        width = own if source["layerType"] == "Const" else source["outputPrecisions"].split(",")[0]
        moved += math.prod(shape) * _BYTES.get(width, 4)
    operations = 2.0 * inner * math.prod(outputs[0])
    return Layer(network, node.get_friendly_name(), kind, info["primitiveType"], _TYPES.get(own, "fp32"), seconds, operations, moved)


def _info(node: Any) -> dict[str, str]:
    return {name: value.astype(str) for name, value in node.get_rt_info().items()}


def profile(model: Model, batch: ImageBatch, precision: EnginePrecision, rounds: int, data: object = None) -> Profile:
    """Compile a model with OpenVINO (calibrated on `data` for int8), run it on a batch `rounds` times, and time its layers."""
    check_positive("profile", rounds=rounds)
    missing = OpenVINO.missing()
    if missing is not None:
        raise InputError(missing)
    engine = Counting()
    compiled = Source.of(model, data, "raise", log, Progress(enabled=False)).compiled(engine, precision)
    compiled(batch)
    engine.forget()
    seconds = [timed(compiled, batch)[1] for _ in range(rounds)]
    return Profile(statistics.mean(seconds), engine.layers())


@benchmark(
    flag("--task", default="classification", help="task of the model: classification, detection or face"),
    flag("--side", type=int, default=224, help="shorter side of the images in pixels"),
    flag("--rounds", type=int, default=20, help="number of measured calls"),
    flag("--layers", type=int, default=5, help="how many of the slowest layers to list individually"),
    *network_flags("bf16"),
)
def main(flags: Flags) -> int:
    """Run the benchmark and return the exit status: 0, or 2 if the input is invalid or OpenVINO isn't installed."""
    count = 16 if flags.batch_size is None else flags.batch_size
    check_positive("profile", batch_size=count, side=flags.side)
    torch.manual_seed(0)
    options: dict[str, Any] = {"max_image_size": 2 * flags.side} if flags.task == "detection" else {}
    classes = None if flags.task == "face" else [f"class {index}" for index in range(80)]
    model = build(flags.backbone, flags.task, classes=classes, image_size=flags.side, **options)
    size = (round(flags.side * 4 / 3), flags.side)  # with an aspect ratio of 4:3, no model pads the images
    photos = [cv2.resize(decoding.read(path), size, interpolation=cv2.INTER_AREA) for path in photo_files(flags.photos)[:count]]
    batch = model.preprocess.batch([np.asarray(photo, np.uint8) for photo in islice(cycle(photos), count)])
    found, rates = profile(model, batch, flags.precision, flags.rounds, calibration(flags)), peaks()
    what = f"{flags.task}, {flags.backbone}, openvino, {flags.precision}, {count} images of {flags.side}"
    shown = ", ".join(f"{name} {rate / 1e9:.0f}" for name, rate in rates.items() if rate is not None)
    speed = f"peak performance of matrix multiplication in 10⁹ operations per second: {shown}; {torch.get_num_threads()} threads"
    content = {**asdict(found), "rest_s": found.rest_s, "peaks": rates, "threads": torch.get_num_threads()}
    return report(flags.json, content, _table(found, rates, what, flags.layers), speed, width=max(150, Console().width))


def _table(found: Profile, rates: dict[str, float | None], what: str, longest: int) -> Table:
    headings = ("layers", "", "time", "of the call", "10⁹ operations", "10⁹ op/s", "of the peak", "MB", "GB/s")
    kinds = (
        (f"{total.network}: {total.kind}, {total.precision}", f"{count}", *_figures(total, found.call_s, rates))
        for count, total in found.kinds()
    )
    table = make_table(f"{what}: {1e3 * found.call_s:.1f} ms per call", headings, kinds)
    table.add_row("everything else", "", f"{1e3 * found.rest_s:.1f} ms", f"{100 * found.rest_s / found.call_s:.1f} %")
    table.add_section()
    for layer in sorted(found.layers, key=lambda each: -each.seconds)[: max(0, longest)]:
        table.add_row(f"{layer.network}: {layer.name}, {layer.kernel}", "", *_figures(layer, found.call_s, rates))
    return table


def _figures(layer: Layer, call_s: float, rates: dict[str, float | None]) -> tuple[str, ...]:
    rate, peak = layer.operations / layer.seconds if layer.seconds else 0.0, rates.get(layer.precision)
    computed = (f"{layer.operations / 1e9:.1f}", f"{rate / 1e9:.0f}", f"{100 * rate / peak:.0f} %" if peak else "–")
    return (
        f"{1e3 * layer.seconds:.1f} ms", f"{100 * layer.seconds / call_s:.1f} %", *(computed if layer.operations else ("", "", "")),
        f"{layer.bytes / 1e6:.1f}", f"{layer.bytes / 1e9 / layer.seconds:.1f}" if layer.seconds else "",
    )  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(main())
