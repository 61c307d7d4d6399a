"""Where a compiled model has its networks from: converted out of a model when they are first asked for, or found converted already.

Pictures of a model's own size have a graph for it alone; all other sizes share one. Detectors, whose pictures differ, have that one only.
What is exported for any size takes the branches of the size that it was exported at (torch.export guards them, other formats don't). So
it is used where it answers as the model does at sizes that it wasn't exported at, and such pictures are left to eager elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from zoo.agreeing import relative_error
from zoo.compiled import PICTURES, SizeHW
from zoo.engines import ENGINES, Engine, EnginePrecision, Judge, Network, Runner, Tensors, one_reason
from zoo.errors import InputError
from zoo.model import Model
from zoo.network_cache import converted, network_key
from zoo.pooling import PooledHead

FEATURES = "features"  # the network of trunk and pooling, of models with a `PooledHead`
_STEP = 32  # pixels that sides of pictures are a multiple of where they are padded
_ROUNDING = 1e-3  # that graphs in float32 may be off, as a part of the largest number


@dataclass(frozen=True)
class Conversion:
    """Networks that are converted when they are first asked for; one that the engine can't take is left to eager, and that is said.

    Attributes:
        model: in evaluation mode, on the CPU.
        fingerprint: its; for `FEATURES` that of its trunk is enough.
        engine: what converts and computes them.
        precision: of the matrix work.
        threads: to compute with.
        samples: by network, inputs to quantise with; empty for networks that are not quantised.
        judge: by network, says how good a quantised one is; None to quantise every layer.
        say: told what is left to eager.
        refused: why, by network.
    """

    model: Model
    fingerprint: str
    engine: Engine
    precision: EnginePrecision
    threads: int
    samples: dict[str, list[Tensors]] = field(default_factory=dict)
    judge: Callable[[str], Judge] | None = None
    say: Callable[[str], None] = lambda text: None
    refused: dict[str, InputError] = field(default_factory=dict)

    def made_for(self, size_hw: SizeHW) -> SizeHW | None:
        """Return the size that the graph for pictures of this size is made for: the model's own, or None for the one that takes any."""
        return size_hw if size_hw == self._own_hw else None

    @property
    def _own_hw(self) -> SizeHW | None:
        preprocess = self.model.preprocess
        return None if preprocess.pads else preprocess.size_hw

    def runner(self, name: str, size_hw: SizeHW | None) -> Runner:
        """Convert a network and start it."""
        try:
            return self.started(name, size_hw)
        except InputError as error:
            self.refused[name] = error
            self.say(f"{error}. That part is left to eager")
            return ENGINES["eager"]().start(self._network(name, size_hw), "fp32", self.threads)

    def started(self, name: str, size_hw: SizeHW | None) -> Runner:
        """Convert a network and start it.

        Raises:
            InputError: the engine can't take it.
        """
        return self.engine.start(self._converted(name, size_hw), self.precision, self.threads)

    def check(self) -> None:
        """Refuse an engine that has taken nothing.

        Raises:
            InputError: why it hasn't.
        """
        if len(self.refused) == 1 + len(self.model.head.networks()):
            raise self.refused[PICTURES]

    def write(self, folder: Path) -> list[dict[str, Any]]:
        """Write the networks, those of one size for the size that the model's pictures are prepared to."""
        written = []
        for name in (PICTURES, *self.model.head.networks()):
            size_hw = self._own_hw if name == PICTURES else None
            file = f"{name}{self.engine.suffix}"
            self.engine.write(self._converted(name, size_hw), folder / file)
            written.append({"name": name, "file": file, "size_hw": size_hw and list(size_hw)})
        return written

    def _converted(self, name: str, size_hw: SizeHW | None) -> Any:
        network = self._network(name, size_hw)
        if not self.engine.converts:
            return self.engine.convert(network)
        samples, judge = self.samples.get(name, []), self.judge and self.judge(name)
        key = network_key(self.fingerprint, network, self.engine, samples, judge is not None)

        def convert() -> Any:
            made = self.engine.convert(network)
            if name == PICTURES and size_hw is None:
                self._check_sizes(network, made)
            return self.engine.quantise(made, samples, judge) if self.precision == "int8" else made

        return converted(self.engine, key, convert)

    def _check_sizes(self, network: Network, made: Any) -> None:
        """Refuse a graph for any size that isn't one.

        Raises:
            InputError: it answers otherwise than the model does.
        """
        runner = self.engine.start(made, "fp32", self.threads)
        for shape in _other_shapes(network, self.model.preprocess.pads):
            pixels = torch.rand(shape, generator=torch.Generator().manual_seed(0))
            try:
                with torch.no_grad():
                    wanted: Tensors = network.module(pixels)
            except RuntimeError:  # a size that the trunk itself can't take: some add maps that differ by a row
                continue
            with one_reason(self.engine.name, network):
                error = max(relative_error(*pair) for pair in zip(wanted, runner(pixels), strict=True))
            if not error <= _ROUNDING:  # NaN isn't either
                raise InputError(
                    f"the engine {self.engine.name} computes the network {network.name!r} otherwise for pictures of another size than that "
                    f"of its export ({shape[2]}×{shape[3]}: numbers are off by {error:.2g} of the largest)"
                )

    def _network(self, name: str, size_hw: SizeHW | None) -> Network:
        if name not in (PICTURES, FEATURES):
            network = self.model.head.networks()[name].eval()
            return Network(name, network, (torch.zeros(2, *network.row_shape),), ((0,),))
        height, width = size_hw or _example_hw(self.model)
        free = (0,) if size_hw else (0, 2, 3)
        module: nn.Module = _Pictures(self.model) if name == PICTURES else _Pooled(self.model)
        return Network(name, module, (torch.zeros(2, 3, height, width),), (free,))


class _Pictures(nn.Module):
    """Normalisation, trunk, and what the head makes of it: float 0–1 [B, 3, H, W] to tensors."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> Tensors:
        return self.model.head.tensors(self.model.levels(pixels))


class _Pooled(nn.Module):
    """Normalisation, trunk, and the pooled features: float 0–1 [B, 3, H, W] to [B, C]."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> Tensors:
        head = self.model.head
        assert isinstance(head, PooledHead), "others look at more of a trunk"
        return (head.pool(self.model.levels(pixels)),)


def _example_hw(model: Model) -> SizeHW:
    """Return a small size that every level of the trunk divides, with different sides."""
    step = max(_STEP, model.backbone.levels[-1].stride)
    return 4 * step, 5 * step


def _other_shapes(network: Network, padded: bool) -> list[tuple[int, int, int, int]]:
    """Return [B, 3, H, W] of pictures unlike those that a network was exported with; of odd sides too where they aren't padded."""
    height, width = network.example[0].shape[2:]
    even = [(1, 3, width + _STEP, height), (3, 3, height, width + 2 * _STEP)]
    return even if padded else [*even, (1, 3, height + 3, width - 1), (2, 3, width - 1, height + 5)]
