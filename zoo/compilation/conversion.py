"""Conversion of a model's networks for an engine, at first use or from the cache.

A pass through the backbone has one graph for the image size of the model, and one graph for all other sizes. That of a detector has only
the latter, since its images vary in size. A graph for any size contains only those branches of the code that were executed at the size of
the export. torch.export guards the branches, other formats don't. Therefore, the graph is tested in float32 at other sizes. If its outputs
differ from those of the original model, images of other sizes run in eager. Engines that run modules without conversion recompile when a
branch changes, and need no test.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from zoo.compilation.agreement import relative_error
from zoo.data.fingerprint import file_fingerprint
from zoo.engines import ENGINES, Engine, Judge, Network, Runner, Tensors, one_reason, or_else
from zoo.errors import InputError
from zoo.models.compiled import SizeHW
from zoo.models.model import Model
from zoo.models.networks import FirstNetwork, first_networks, further_networks
from zoo.models.passes import Pass
from zoo.system.cache import LIMIT_BYTES, cache_folder, mark_used, shrink
from zoo.system.files import write_text
from zoo.system.precision import EnginePrecision
from zoo.system.wording import reason

FEATURES = "features"  # name of the network of backbone and pooling, for models with a `PooledHead`
_STEP = 32  # pixels; the sides of padded images are multiples of this
_ROUNDING = 1e-3  # maximum error of a float32 graph, relative to the largest value
_LENGTH = 24  # of cache keys
_REVISION = 5  # revision of the conversion and quantisation code; increase it to invalidate cached networks


@dataclass(frozen=True)
class Conversion:
    """Source of a compiled model's networks, converted at first use. Those that the engine can't run fall back to eager, with a message."""

    model: Model  # the original, in evaluation mode, on the CPU
    fingerprint: str  # of the model; for the network `FEATURES`, that of the backbone is sufficient
    engine: Engine
    precision: EnginePrecision
    threads: int
    samples: dict[str, list[Tensors]] = field(default_factory=dict)  # inputs for calibration, by network name
    judge: Callable[[str], Judge | None] | None = None  # returns the scorer of a network's candidates; None to quantise all layers
    say: Callable[[str], None] = lambda text: None
    replaced: Mapping[str, Runner] = field(default_factory=dict)  # runners that replace those of the engine, by network name
    refused: dict[str, InputError] = field(default_factory=dict)  # errors of networks that the engine can't run, by network name
    taken: set[SizeHW] = field(default_factory=set)  # supported sizes of a model that doesn't support every size
    first: dict[str, FirstNetwork] = field(default_factory=dict)  # networks of the passes, made at first use

    @cached_property
    def passes(self) -> dict[str, Pass]:
        """The passes of the model by the names of their networks."""
        return first_networks(self.model.config)

    def outputs(self, name: str) -> Mapping[str, Sequence[int]]:
        """Return the positions of each head's tensors among the outputs of a pass; empty for a model with one head."""
        return self._first(name).outputs

    def _first(self, name: str) -> FirstNetwork:
        if name not in self.first:
            example = torch.zeros(1, 3, *(self._own_hw(name) or _example_hw(self.model)))
            self.first[name] = FirstNetwork(self.model, self.passes[name], example)
        return self.first[name]

    def made_for(self, name: str, size_hw: SizeHW) -> SizeHW | None:
        """Return `size_hw` if it is a pass's own image size; None if the graph for any size must be used.

        Raise an `InputError` if the original model doesn't support this size. An engine might nevertheless return outputs; for example,
        some engines add maps of one and two rows.
        """
        if size_hw == self._own_hw(name):
            return size_hw
        # every backbone supports the sizes of padded images
        if not self.passes[name].preprocess.pads and self._is_selective and size_hw not in self.taken:
            try:
                self.model.levels(torch.zeros(1, 3, *size_hw))
            except RuntimeError as error:
                raise InputError(
                    f"the backbone {self.model.backbone_name} doesn't support images of {size_hw[0]}×{size_hw[1]} pixels "
                    f"({reason(error)}); use sides that are multiples of {max(_STEP, self.model.backbone.levels[-1].stride)}"
                ) from error
            self.taken.add(size_hw)
        return None

    @cached_property
    def _is_selective(self) -> bool:
        """Whether the backbone rejects some image sizes. Tested with sizes that give feature maps of odd and even size at every level."""
        try:
            for _, *shape in _other_shapes(*_example_hw(self.model), False):
                self.model.levels(torch.zeros(1, *shape))
        except RuntimeError:
            return True
        return False

    def _own_hw(self, name: str) -> SizeHW | None:
        """Return the image size of a pass; None if images vary in size, or for a network whose input isn't images."""
        way = self.passes.get(name)
        return None if way is None or way.preprocess.pads else way.preprocess.size_hw

    def runner(self, name: str, size_hw: SizeHW | None) -> Runner:
        """Return the runner of a network. If the engine can't run the network, or fails on some inputs, the runner uses eager."""
        if name in self.replaced:
            return self.replaced[name]
        eager = ENGINES["eager"]().start(self._network(name, size_hw), "fp32", self.threads)
        try:
            run = self.started(name, size_hw)
        except InputError as error:
            self.refused[name] = error
            self.say(f"{error}. This network runs in eager instead")
            return eager
        reported: list[str] = []

        def in_eager(error: Exception, *inputs: Tensor) -> Tensors:
            if not reported:
                case = f"the engine {self.engine.name} can't run {name!r} on inputs of shape {tuple(inputs[0].shape)} ({reason(error)})"
                reported.append(f"{case}. Such inputs run in eager instead")
                self.say(reported[0])
            return eager(*inputs)

        return run if size_hw is not None else or_else(run, in_eager)

    def started(self, name: str, size_hw: SizeHW | None) -> Runner:
        """Convert a network, and return its runner."""
        made = self.converted(name, size_hw)
        with one_reason(self.engine.name, self._network(name, size_hw)):
            return self.engine.start(made, self.precision, self.threads)

    def write(self, folder: Path) -> list[dict[str, Any]]:
        """Write the networks to a folder (those of passes only for their own size, if any). Return their entries for model.json."""
        written = []
        for name in (*self.passes, *further_networks(self.model)):
            size_hw = self._own_hw(name)
            file = f"{name}{self.engine.suffix}"
            self.engine.write(self.converted(name, size_hw), folder / file)
            if name in self.passes and size_hw is None and not self.engine.converts:  # others are tested when converted
                self._check_sizes(self._network(name, None), self.engine.read(folder / file))
            entry: dict[str, Any] = {"name": name, "file": file, "size_hw": size_hw and list(size_hw)}
            outputs = self.outputs(name) if name in self.passes else {}
            written.append({**entry, **({"outputs": {head: list(places) for head, places in outputs.items()}} if outputs else {})})
        return written

    def converted(self, name: str, size_hw: SizeHW | None) -> Any:
        """Return a network in the form of the engine, from the cache if it is there."""
        network = self._network(name, size_hw)
        if not self.engine.converts:
            return self.engine.convert(network)
        if self.precision != "int8":
            return self.engine.halved(self._in_full(network, size_hw), self.precision)
        samples, judge = self.samples.get(name, []), self.judge and self.judge(name)
        key = network_key(self.fingerprint, network, self.engine, samples, judge is not None)
        return self._cached(key, lambda: self.engine.quantise(self._in_full(network, size_hw), samples, judge))

    def _in_full(self, network: Network, size_hw: SizeHW | None) -> Any:
        """Return the converted network before any quantisation, which therefore needs no second conversion."""

        def convert() -> Any:
            made = self.engine.convert(network)
            if network.name in self.passes and size_hw is None:
                self._check_sizes(network, made)
            return made

        return self._cached(network_key(self.fingerprint, network, self.engine, None, False), convert)

    def _cached(self, key: str, convert: Callable[[], Any]) -> Any:
        """Return a converted network from the cache, which never contains networks of encrypted models: they are converted each time."""
        return convert() if self.model.encrypted else from_cache(self.engine, key, convert)

    def _check_sizes(self, network: Network, made: Any) -> None:
        """Raise an `InputError` if a graph for any image size is incorrect for some sizes."""
        with one_reason(self.engine.name, network):
            runner = self.engine.start(made, "fp32", self.threads)
        height, width = network.example[0].shape[2:]
        for shape in _other_shapes(height, width, self.passes[network.name].preprocess.pads):
            pixels = torch.rand(shape, generator=torch.Generator().manual_seed(0))
            try:
                with torch.no_grad():
                    wanted: Tensors = network.module(pixels)
            except RuntimeError:  # the backbone rejects this size, for example because it would add maps that differ by a row
                continue
            with one_reason(self.engine.name, network):
                errors = [relative_error(*pair) for pair in zip(wanted, runner(pixels), strict=True)]
            error = float(np.max(errors))  # NaN if any of them is NaN
            if not error <= _ROUNDING:
                raise InputError(
                    f"the engine {self.engine.name} computes the network {network.name!r} incorrectly for image sizes other than that of "
                    f"the export ({shape[2]}×{shape[3]}: outputs are off by {error:.2g} of the largest value)"
                )

    def _network(self, name: str, size_hw: SizeHW | None) -> Network:
        if name not in (*self.passes, FEATURES):
            network = further_networks(self.model)[name].module.eval()
            return Network(name, network, (torch.zeros(2, *network.row_shape),), ((0,),), self.model.encrypted)
        example = torch.zeros(2, 3, *(size_hw or _example_hw(self.model)))
        module = _Pooled(self.model) if name == FEATURES else self._first(name)
        return Network(name, module, (example,), ((0,) if size_hw else (0, 2, 3),), self.model.encrypted)


class _Pooled(nn.Module):
    """Network of normalisation, backbone and pooling. It maps images [B, 3, H, W], float in 0–1, to pooled features [B, C]."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> Tensors:
        features = self.model.levels(pixels)
        return (features[next(reversed(features))].float().mean((2, 3)),)


def _example_hw(model: Model) -> SizeHW:
    """Return a small image size for exporting a graph, with different height and width, both divisible by the stride of every level."""
    last = model.backbone.levels[-1]
    # unpadded maps are smaller than the stride suggests; with a map of side 1, torch.export would specialise the graph to such maps
    step, lost = max(_STEP, last.stride), -(-(last.field - 1) // _STEP) * _STEP
    return 4 * step + lost, 5 * step + lost


def _other_shapes(height: int, width: int, padded: bool) -> list[tuple[int, int, int, int]]:
    """Return input shapes [B, 3, H, W] that differ from that of the export. They include odd sides, unless images are padded."""
    even = [(1, 3, width, height + 3 * _STEP), (3, 3, height + 2 * _STEP, width), (2, 3, height + _STEP, width + _STEP)]
    return even if padded else [*even, (1, 3, height + 3, width - 1), (2, 3, width - 1, height + 5)]


def network_key(fingerprint: str, network: Network, engine: Engine, samples: Sequence[Tensors] | None, judged: bool) -> str:
    """Return the cache key of a converted network.

    `samples` are inputs for calibration, None for a network that isn't quantised; `judged` tells whether there is a `Judge`.
    """
    shapes = [list(each.shape[2:]) for each in network.example]
    content: list[Any] = [_REVISION, fingerprint, network.name, shapes, network.free, engine.name, judged, samples is not None]
    for package in ("resnet-zoo", "torch", *engine.distributions):
        with contextlib.suppress(PackageNotFoundError):
            content.append(version(package))
    digest = hashlib.blake2b(json.dumps(content).encode())
    for inputs in samples or ():
        for tensor in inputs:
            digest.update(np.ascontiguousarray(tensor.numpy()).tobytes())
    return digest.hexdigest()[:_LENGTH]


def from_cache(engine: Engine, key: str, convert: Callable[[], Any]) -> Any:
    """Return the converted network from the cache, or call `convert` and add the result to the cache."""
    folder = cache_folder("networks")
    listing, name = folder / f"{key}.json", f"{key}{engine.suffix}"
    with contextlib.suppress(Exception):  # the entry is missing, damaged or unreadable: convert again
        for file, digest in json.loads(listing.read_text(encoding="utf-8")).items():
            if file_fingerprint(folder / file) != digest:
                raise ValueError(file)
            mark_used(folder / file)
        mark_used(listing)
        return engine.read(folder / name)
    made = convert()
    with contextlib.suppress(OSError, RuntimeError):  # no space or no permission: continue without the cache
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".draft-", dir=folder) as draft:
            engine.write(made, Path(draft) / name)
            files = sorted(Path(draft).iterdir())
            digests = {path.name: file_fingerprint(path) for path in files}
            for path in files:
                os.replace(path, folder / path.name)
        write_text(listing, json.dumps(digests))  # written last, because files that it doesn't list are never read
        shrink(folder, LIMIT_BYTES, [listing])
    return made
