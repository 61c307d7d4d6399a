"""Where a compiled model has its networks from: converted out of a model when they are first asked for, or found converted already.

Pictures of a model's own size have a graph for it alone; all other sizes share one. Detectors, whose pictures differ, have that one only.
What is exported for any size takes the branches of the size that it was exported at (torch.export guards them, other formats don't). So
it is tried, in float32, at sizes that it wasn't exported at, and where it answers otherwise than the model does, such pictures are left to
eager. (The engines that take modules as they are, and compile again where a branch is another, have nothing to be tried.)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from zoo.compilation.agreement import relative_error
from zoo.compilation.cache import converted, network_key
from zoo.engines import ENGINES, Engine, EnginePrecision, Judge, Network, Runner, Tensors, one_reason, or_else
from zoo.errors import InputError
from zoo.models.compiled import PICTURES, SizeHW
from zoo.models.model import Model
from zoo.system.wording import reason
from zoo.task.pooling import PooledHead

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
        taken: sizes other than its own that a model which can't take all of them has taken.
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
    taken: set[SizeHW] = field(default_factory=set)

    def made_for(self, size_hw: SizeHW) -> SizeHW | None:
        """Return the size that the graph for pictures of this size is made for: the model's own, or None for the one that takes any.

        Raises:
            InputError: the model itself can't take this size, where an engine might answer: some add a map of one row to one of two.
        """
        if size_hw == self._own_hw:
            return size_hw
        if self._is_choosy and size_hw not in self.taken:
            try:
                self.model.levels(torch.zeros(1, 3, *size_hw))
            except RuntimeError as error:
                raise InputError(
                    f"the backbone {self.model.backbone_name} can't take pictures of {size_hw[0]}×{size_hw[1]} pixels ({reason(error)}); "
                    f"give sides that are multiples of {max(_STEP, self.model.backbone.levels[-1].stride)}"
                ) from error
            self.taken.add(size_hw)
        return None

    @cached_property
    def _is_choosy(self) -> bool:
        """Whether there are sizes that the trunk itself can't take, by maps of odd and even sides at all of its levels.

        What is padded has sides that every trunk takes.
        """
        if self.model.preprocess.pads:
            return False
        try:
            for _, *shape in _other_shapes(*_example_hw(self.model), False):
                self.model.levels(torch.zeros(1, *shape))
        except RuntimeError:
            return True
        return False

    @property
    def _own_hw(self) -> SizeHW | None:
        preprocess = self.model.preprocess
        return None if preprocess.pads else preprocess.size_hw

    def runner(self, name: str, size_hw: SizeHW | None) -> Runner:
        """Convert a network and start it."""
        eager = ENGINES["eager"]().start(self._network(name, size_hw), "fp32", self.threads)
        try:
            run = self.started(name, size_hw)
        except InputError as error:
            self.refused[name] = error
            self.say(f"{error}. That part is left to eager")
            return eager
        said = False

        def in_eager(error: Exception, *inputs: Tensor) -> Tensors:
            nonlocal said
            if not said:
                shape = tuple(inputs[0].shape)
                self.say(
                    f"the engine {self.engine.name} can't compute {name!r} of {shape} ({reason(error)}). What it can't is left to eager"
                )
            said = True
            return eager(*inputs)

        return run if size_hw is not None else or_else(run, in_eager)

    def started(self, name: str, size_hw: SizeHW | None) -> Runner:
        """Convert a network and start it.

        Raises:
            InputError: the engine can't take it.
        """
        made = self._converted(name, size_hw)
        with one_reason(self.engine.name, self._network(name, size_hw)):
            return self.engine.start(made, self.precision, self.threads)

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
            if name == PICTURES and size_hw is None and not self.engine.converts:  # others were tried when they were converted
                self._check_sizes(self._network(name, None), self.engine.read(folder / file))
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
        with one_reason(self.engine.name, network):
            runner = self.engine.start(made, "fp32", self.threads)
        height, width = network.example[0].shape[2:]
        for shape in _other_shapes(height, width, self.model.preprocess.pads):
            pixels = torch.rand(shape, generator=torch.Generator().manual_seed(0))
            try:
                with torch.no_grad():
                    wanted: Tensors = network.module(pixels)
            except RuntimeError:  # a size that the trunk itself can't take, and is not asked for: some add maps that differ by a row
                continue
            with one_reason(self.engine.name, network):
                errors = [relative_error(*pair) for pair in zip(wanted, runner(pixels), strict=True)]
            error = float(np.max(errors))  # NaN where one is
            if not error <= _ROUNDING:
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
    last = model.backbone.levels[-1]
    # without padding a map is smaller than its stride says: one of a single place would make a graph for single places
    step, lost = max(_STEP, last.stride), -(-(last.field - 1) // _STEP) * _STEP
    return 4 * step + lost, 5 * step + lost


def _other_shapes(height: int, width: int, padded: bool) -> list[tuple[int, int, int, int]]:
    """Return [B, 3, H, W] of pictures unlike those that a network was exported with; of odd sides too where they aren't padded."""
    even = [(1, 3, width, height + 3 * _STEP), (3, 3, height + 2 * _STEP, width), (2, 3, height + _STEP, width + _STEP)]
    return even if padded else [*even, (1, 3, height + 3, width - 1), (2, 3, width - 1, height + 5)]
