"""Where a compiled model has its networks from: converted out of a model when they are first asked for, or found converted already."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from zoo.compiled import PICTURES, sizes_free
from zoo.engines import ENGINES, Engine, EnginePrecision, Judge, Network, Runner, Tensors
from zoo.errors import InputError
from zoo.model import Model
from zoo.network_cache import converted, network_key
from zoo.pooling import PooledHead

FEATURES = "features"  # the network of trunk and pooling, of models with a `PooledHead`


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

    def runner(self, name: str, size_hw: tuple[int, int] | None) -> Runner:
        """Convert a network and start it."""
        try:
            return self.started(name, size_hw)
        except InputError as error:
            self.refused[name] = error
            self.say(f"{error}. That part is left to eager")
            return ENGINES["eager"]().start(self._network(name, size_hw), "fp32", self.threads)

    def started(self, name: str, size_hw: tuple[int, int] | None) -> Runner:
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
            size_hw = None if name != PICTURES or sizes_free(self.model) else self.model.preprocess.size_hw
            file = f"{name}{self.engine.suffix}"
            self.engine.write(self._converted(name, size_hw), folder / file)
            written.append({"name": name, "file": file, "size_hw": size_hw and list(size_hw)})
        return written

    def _converted(self, name: str, size_hw: tuple[int, int] | None) -> Any:
        network = self._network(name, size_hw)
        if not self.engine.converts:
            return self.engine.convert(network)
        samples, judge = self.samples.get(name, []), self.judge and self.judge(name)
        key = network_key(self.fingerprint, network, self.engine, samples, judge is not None)

        def convert() -> Any:
            made = self.engine.convert(network)
            return self.engine.quantise(made, samples, judge) if self.precision == "int8" else made

        return converted(self.engine, key, convert)

    def _network(self, name: str, size_hw: tuple[int, int] | None) -> Network:
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


def _example_hw(model: Model) -> tuple[int, int]:
    """Return a small size that every level of the trunk divides, with different sides."""
    step = max(32, model.backbone.levels[-1].stride)
    return 4 * step, 5 * step
