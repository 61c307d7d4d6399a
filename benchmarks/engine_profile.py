"""Where the time goes of a model that OpenVINO computes: `python -m zoo.benchmarks.engine_profile`.

Photos are answered for again and again, and OpenVINO's own counters say how long every layer took; means are shown, by network and
kind of layer, because they add up to the mean of a call. Beside the time stand the operations that a layer needs, its rate, and the
part of this processor's peak that it reaches, which large matrix products measured in the same run: a kind far below the peak that
moves many bytes waits for memory. What the layers leave of a whole call (looking at the pictures, copies, and for detection choosing
proposals and pooling them) is the last line.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import cycle, islice
from typing import Any

import cv2
import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from zoo.benchmarks.engine_flags import add_network_flags
from zoo.benchmarks.peers.roofline import peaks
from zoo.benchmarks.photos import photo_files
from zoo.compilation.source import Source
from zoo.engines import EnginePrecision, Runner, Tensors
from zoo.engines.openvino import OpenVINO, Session, bytes_among
from zoo.errors import InputError, ZooError, check_positive
from zoo.images import decoding as images
from zoo.images.preprocess import ImageBatch
from zoo.models.builder import build
from zoo.models.model import Model
from zoo.system.progress import Progress

_BYTES = {"f32": 4, "i32": 4, "u32": 4, "bf16": 2, "f16": 2, "i8": 1, "u8": 1, "boolean": 1}
_TYPES = {"i8": "int8", "u8": "int8", "bf16": "bf16"}  # of arithmetic, to the peak that belongs to it; fp32's for others


@dataclass(frozen=True)
class Layer:
    """What OpenVINO computes in one piece: a convolution with the activation and the sum after it, say.

    Attributes:
        network: its network's name.
        name: OpenVINO's, which ends in a number.
        kind: such as "Convolution 3×3".
        kernel: what computes it, as OpenVINO names it.
        precision: "fp32", "bf16" or "int8".
        seconds: that it takes, a mean.
        operations: multiplications and additions; 0 where there are hardly any.
        bytes: of what it reads and writes, weights included.
    """

    network: str
    name: str
    kind: str
    kernel: str
    precision: str
    seconds: float
    operations: float
    bytes: float


@dataclass(frozen=True)
class Profile:
    """Where the time of a call goes.

    Attributes:
        call_s: seconds of a whole call, a mean.
        layers: of all networks, in their order.
    """

    call_s: float
    layers: tuple[Layer, ...]

    @property
    def rest_s(self) -> float:
        """Seconds of a call that no layer has."""
        return self.call_s - sum(layer.seconds for layer in self.layers)

    def kinds(self) -> list[tuple[int, Layer]]:
        """Return sums over the layers of one network, kind and precision, and how many they are; the longest first."""
        found: dict[tuple[str, str, str], tuple[int, Layer]] = {}
        for layer in self.layers:
            key = layer.network, layer.kind, layer.precision
            count, total = found.get(key, (0, replace(layer, seconds=0.0, operations=0.0, bytes=0.0)))
            found[key] = count + 1, _sum(total, layer)
        return sorted(found.values(), key=lambda each: -each[1].seconds)


def _sum(total: Layer, layer: Layer) -> Layer:
    sums = {name: getattr(total, name) + getattr(layer, name) for name in ("seconds", "operations", "bytes")}
    return replace(total, **sums)


@dataclass
class _Counted:
    """A network that was compiled for one shape of its input.

    Attributes:
        network: its name.
        session: what computes it.
        runs: how often it has.
        before: of them, those that don't count.
        before_s: seconds of each layer in those, their mean.
    """

    network: str
    session: Session
    runs: int = 0
    before: int = 0
    before_s: dict[str, float] = field(default_factory=dict)

    def means(self) -> dict[str, float]:
        """Return what OpenVINO counts: the mean seconds of every layer that is computed, over all runs."""
        executed = [each for each in self.session.request.profiling_info if each.status == each.Status.EXECUTED]
        return {each.node_name: each.real_time.total_seconds() for each in executed}

    def counted_s(self) -> dict[str, float]:
        """Return the mean seconds of every layer over the runs that count."""
        counted = self.runs - self.before
        totals = {name: mean * self.runs - self.before_s.get(name, 0.0) * self.before for name, mean in self.means().items()}
        return {name: max(0.0, total / counted) for name, total in totals.items()}

    def layers(self) -> Iterator[Layer]:
        """Yield the layers in their order."""
        seconds = self.counted_s()
        for node in self.session.compiled.get_runtime_model().get_ordered_ops():
            if node.get_friendly_name() in seconds:
                yield _layer(self.network, node, seconds[node.get_friendly_name()])


class Counting(OpenVINO):
    """OpenVINO with counters: it compiles for every shape that comes along, so that the sizes of all layers are known."""

    def __init__(self) -> None:
        """Begin to count."""
        self._counted: dict[tuple[str, tuple[tuple[int, ...], ...], tuple[bool, ...]], _Counted] = {}

    def forget(self) -> None:
        """Count from here on."""
        for each in self._counted.values():
            each.before, each.before_s = each.runs, each.means()

    def start(self, converted: Any, precision: EnginePrecision, threads: int) -> Runner:
        """Compile when the first input comes."""
        name = converted.get_friendly_name()

        def run(*inputs: Tensor) -> Tensors:
            shapes, in_bytes = tuple(tuple(each.shape) for each in inputs), bytes_among(inputs)
            if (name, shapes, in_bytes) not in self._counted:
                fixed = converted.clone()
                fixed.reshape(dict(enumerate(map(list, shapes))))
                self._counted[name, shapes, in_bytes] = _Counted(name, Session(fixed, precision, threads, in_bytes, PERF_COUNT=True))
            counted = self._counted[name, shapes, in_bytes]
            counted.runs += 1
            return counted.session(*inputs)

        return run

    def layers(self) -> tuple[Layer, ...]:
        """Return what was counted."""
        return tuple(layer for each in self._counted.values() if each.runs > each.before for layer in each.layers())


def _layer(network: str, node: Any, seconds: float) -> Layer:
    """Read a layer of a runtime graph, whose shapes are all known."""
    said = {name: value.astype(str) for name, value in node.get_rt_info().items()}
    taken, given = ([tuple(port.get_shape()) for port in ports] for ports in (node.inputs(), node.outputs()))
    kind, weights = said["layerType"], taken[1] if len(taken) > 1 else ()
    inner = 0
    if kind == "Convolution":
        kind, inner = f"Convolution {weights[-2]}×{weights[-1]}", math.prod(weights[-3:])
    elif kind in ("FullyConnected", "MatMul"):
        inner = taken[0][-1]
    own = said["runtimePrecision"]
    moved = sum(math.prod(shape) for shape in given) * _BYTES.get(said["outputPrecisions"].split(",")[0], 4)
    for port, shape in zip(node.inputs(), taken, strict=True):
        source = {name: value.astype(str) for name, value in port.get_source_output().get_node().get_rt_info().items()}
        # weights are kept in the layer's own precision, whatever the graph says of them
        width = own if source["layerType"] == "Const" else source["outputPrecisions"].split(",")[0]
        moved += math.prod(shape) * _BYTES.get(width, 4)
    operations = 2.0 * inner * math.prod(given[0])
    return Layer(network, node.get_friendly_name(), kind, said["primitiveType"], _TYPES.get(own, "fp32"), seconds, operations, moved)


def profile(model: Model, batch: ImageBatch, precision: EnginePrecision, rounds: int, data: object = None) -> Profile:
    """Let a model answer for a batch again and again, computed by OpenVINO with counters.

    Args:
        model: any that isn't compiled.
        batch: pictures.
        precision: that it is computed in.
        rounds: calls that are counted.
        data: what int8 is calibrated on.

    Raises:
        InputError: OpenVINO isn't installed or can't take the model, or no rounds.
        DisagreementError: it answers otherwise than the model.
    """
    check_positive("profile", rounds=rounds)
    missing = OpenVINO.missing()
    if missing is not None:
        raise InputError(missing)
    engine = Counting()
    computed = Source.of(model, data, "raise", lambda text: print(text, file=sys.stderr), Progress(enabled=False)).compiled(
        engine, precision
    )
    computed(batch)
    engine.forget()
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        computed(batch)
        seconds.append(time.perf_counter() - start)
    return Profile(statistics.mean(seconds), engine.layers())


def _batch(model: Model, photos: Iterable[images.Image], side: int) -> ImageBatch:
    """Prepare photos that are made lying ones of 3:4 first, so that there is nothing to pad."""
    size = (round(side * 4 / 3), side)
    return model.preprocess.batch([np.asarray(cv2.resize(photo, size, interpolation=cv2.INTER_AREA), np.uint8) for photo in photos])


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line.

    Returns:
        0, or 2 where the input is wrong or OpenVINO isn't there.
    """
    parser = argparse.ArgumentParser(prog="python -m zoo.benchmarks.engine_profile", description=__doc__)
    parser.add_argument("--task", default="classification", help="classification, detection or face")
    parser.add_argument("--side", type=int, default=224, help="shorter side of the pictures in pixels")
    parser.add_argument("--rounds", type=int, default=20, help="calls that are counted")
    parser.add_argument("--layers", type=int, default=5, help="how many of the longest are listed by themselves")
    add_network_flags(parser, precision="bf16")
    flags = parser.parse_args(argv)
    try:
        count = 16 if flags.batch_size is None else flags.batch_size
        check_positive("profile", batch_size=count, side=flags.side)
        torch.manual_seed(0)
        options: dict[str, Any] = {"max_image_size": 2 * flags.side} if flags.task == "detection" else {}
        classes = None if flags.task == "face" else [f"class {index}" for index in range(80)]
        model = build(flags.backbone, flags.task, classes=classes, image_size=flags.side, **options)
        photos = islice(cycle(map(images.read, photo_files(flags.photos)[:count])), count)
        data = str(flags.photos) if flags.precision == "int8" else None
        found = profile(model, _batch(model, photos, flags.side), flags.precision, flags.rounds, data)
    except ZooError as error:
        print(f"engine_profile: {error}", file=sys.stderr)
        return error.exit_status
    rates = peaks()
    if flags.json:
        load = {"threads": torch.get_num_threads(), "load": os.getloadavg()[0]}
        print(json.dumps({**asdict(found), "rest_s": found.rest_s, "peaks": rates, **load}))
    else:
        what = f"{flags.task}, {flags.backbone}, openvino, {flags.precision}, {count} pictures of {flags.side}"
        _print(found, rates, what, flags.layers)
    return 0


def _print(found: Profile, rates: dict[str, float | None], what: str, longest: int) -> None:
    headings = ("layers", "", "time", "of the call", "10⁹ operations", "10⁹ a second", "of the peak", "MB", "GB a second")
    table = Table(*headings, title=f"{what}: a call of {1e3 * found.call_s:.1f} ms", title_justify="left")
    for count, total in found.kinds():
        table.add_row(f"{total.network}: {total.kind}, {total.precision}", f"{count}", *_figures(total, found.call_s, rates))
    table.add_row("everything else", "", f"{1e3 * found.rest_s:.1f} ms", f"{100 * found.rest_s / found.call_s:.1f} %")
    table.add_section()
    for layer in sorted(found.layers, key=lambda each: -each.seconds)[: max(0, longest)]:
        table.add_row(f"{layer.network}: {layer.name}, {layer.kernel}", "", *_figures(layer, found.call_s, rates))
    console = Console(highlight=False, width=max(150, Console().width))
    console.print(table)
    said = ", ".join(f"{name} {rate / 1e9:.0f}" for name, rate in rates.items() if rate is not None)
    console.print(
        f"peaks of matrix multiplication, 10⁹ operations per second: {said}; {torch.get_num_threads()} threads; "
        f"load average {os.getloadavg()[0]:.1f}"
    )


def _figures(layer: Layer, call_s: float, rates: dict[str, float | None]) -> tuple[str, ...]:
    rate, peak = layer.operations / layer.seconds if layer.seconds else 0.0, rates.get(layer.precision)
    computed = (f"{layer.operations / 1e9:.1f}", f"{rate / 1e9:.0f}", f"{100 * rate / peak:.0f} %" if peak else "–")
    return (
        f"{1e3 * layer.seconds:.1f} ms", f"{100 * layer.seconds / call_s:.1f} %", *(computed if layer.operations else ("", "", "")),
        f"{layer.bytes / 1e6:.1f}", f"{layer.bytes / 1e9 / layer.seconds:.1f}" if layer.seconds else "",
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
