"""A model whose networks an engine computes: called, evaluated and saved like any other."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from zoo.data.fingerprint import file_fingerprint
from zoo.engines import ENGINES, Runner, Tensors
from zoo.errors import InputError
from zoo.images.preprocess import Picture, as_float
from zoo.models.builder import components
from zoo.models.config import ModelConfig
from zoo.models.model import Model
from zoo.system.files import write_text
from zoo.task.pooling import AnyImages, PooledBatch

PICTURES = "pictures"  # the network of trunk and head

SizeHW = tuple[int, int]


@dataclass(frozen=True)
class Agreement:
    """How far a compiled model's answers are from eager float32's.

    Attributes:
        pictures: that both have answered for.
        relative_error: of any number that the first network gives, as a part of the largest of its kind.
        agreement: the part of the answers that say the same (classes, boxes, embeddings); None where there was nothing to compare.
        score: the name of the score that both were measured by; None where the data had no truth.
        eager: that score of the model in eager float32.
        compiled: of the compiled one.
    """

    pictures: int
    relative_error: float
    agreement: float | None
    score: str | None = None
    eager: float | None = None
    compiled: float | None = None

    def __str__(self) -> str:
        """Return it as one line."""
        said = [f"{self.pictures} pictures: largest relative error {self.relative_error:.1e}"]
        said += [] if self.agreement is None else [f"{100 * self.agreement:.2f} % of the answers the same"]
        if self.score is not None and self.eager is not None and self.compiled is not None:
            said.append(f"{self.score} {self.compiled:.4f}, {self.eager:.4f} before")
        return ", ".join(said)


@dataclass(frozen=True)
class Making:
    """By what, and how well, a model was compiled.

    Attributes:
        engine: its name.
        precision: "fp32", "bf16" or "int8".
        threads: that it computes with.
        agreement: with eager float32.
    """

    engine: str
    precision: str
    threads: int
    agreement: Agreement

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], threads: int) -> Making:
        """Read it back from model.json; threads are the machine's."""
        return cls(values["engine"], values["precision"], threads, Agreement(**values["agreement"]))

    def to_dict(self) -> dict[str, Any]:
        """Return it as it stands in model.json."""
        return {"engine": self.engine, "precision": self.precision, "agreement": asdict(self.agreement)}


class Supply(Protocol):
    """Where a compiled model has its networks from."""

    def made_for(self, size_hw: SizeHW) -> SizeHW | None:
        """Return the size that the graph for pictures of this size is made for; None for the one that takes any.

        Raises:
            InputError: there is none for this size, or the model itself can't take it.
        """

    def runner(self, name: str, size_hw: SizeHW | None) -> Runner:
        """Return what computes a network.

        Args:
            name: of the network.
            size_hw: that its graph is made for, as `made_for` has it; None for those that don't take pictures.

        Raises:
            InputError: its file is damaged.
        """

    def write(self, folder: Path) -> list[dict[str, Any]]:
        """Write all networks into a folder, and return `{"name", "file", "size_hw"}` of each."""


class Compiled(Model):
    """A model that answers and does nothing else: it has no parameters of its own, and an engine computes its networks.

    Attributes:
        making: by which engine, and how well its answers agree with those of eager float32.
    """

    def __init__(
        self, config: ModelConfig, metadata: Mapping[str, Any], fingerprints: dict[str, str], supply: Supply, making: Making
    ) -> None:
        """Put it together; `zoo.compile` and `zoo.load` are the ways in."""
        with torch.device("meta"):  # its layers are never called, and take no memory
            backbone, head, _ = components(config)
            super().__init__(backbone, head, config, metadata)
        super().train(False)
        self.fingerprints, self.making, self._supply = fingerprints, making, supply
        self.compiled, self.precision = True, making.precision
        self._takes_bytes = ENGINES[making.engine].takes_bytes
        self._runners: dict[tuple[str, SizeHW | None], Runner] = {}  # two at most of the first network, for its own size and for any
        self._alone = threading.Lock()  # what an engine answers is good until it is asked again
        self.head.replace({name: partial(self._compute, name, None) for name in self.head.networks()})

    @property
    def device(self) -> torch.device:
        """Where it answers."""
        return torch.device("cpu")

    def forward(self, images: AnyImages | Tensor | Sequence[Picture], targets: Any = None) -> Any:
        """Answer in the task's convention.

        Raises:
            InputError: pictures that the model can't take, or targets: it has no losses.
        """
        if targets is not None or isinstance(images, PooledBatch):
            raise InputError("a compiled model answers for pictures alone; losses and features are those of the model it was made from")
        batch = self.preprocess.batch(images).to(self.device)
        self.check(batch)
        with self._alone, torch.no_grad(), torch.autocast("cpu", enabled=False):
            tensors = self._first(batch.pixels)
            answer = self.head.answered(tensors, batch)
            return answer.clone() if any(answer is tensor for tensor in tensors) else answer

    def tensors(self, pixels: Tensor) -> Tensors:
        """Return what trunk and head make of [B, 3, H, W], float 0–1 or uint8."""
        with self._alone, torch.no_grad(), torch.autocast("cpu", enabled=False):
            return tuple(tensor.clone() for tensor in self._first(pixels))

    def _first(self, pixels: Tensor) -> Tensors:
        size = self._supply.made_for((pixels.shape[2], pixels.shape[3]))
        taken = pixels.dtype == torch.uint8 and self._takes_bytes
        return self._compute(PICTURES, size, pixels if taken else as_float(pixels).float())

    def _compute(self, name: str, size_hw: SizeHW | None, pixels: Tensor) -> Tensors:
        if len(pixels) == 0:  # a detector's second stage, where nothing was proposed
            return tuple(tensor[:0] for tensor in self._compute(name, size_hw, pixels.new_zeros((1, *pixels.shape[1:]))))
        key = name, size_hw
        if key not in self._runners:
            self._runners[key] = self._supply.runner(name, size_hw)
        return self._runners[key](pixels)

    def train(self, mode: bool = True) -> Compiled:
        """Refuse training mode.

        Raises:
            InputError: training is asked for.
        """
        if mode:
            raise InputError("a compiled model can't be trained: train the model it was made from, and compile it again")
        return self

    def to(self, *args: Any, **kwargs: Any) -> Compiled:
        """Stay where it is.

        Raises:
            InputError: another device than the CPU is asked for.
        """
        device, *_ = torch._C._nn._parse_to(*args, **kwargs)
        if device is not None and device.type != "cpu":
            raise InputError(f"a compiled model answers on the CPU, not on {device}; use device='cpu' (--device cpu)")
        return self

    def cuda(self, device: Any = None) -> Compiled:
        """Refuse to leave the CPU.

        Raises:
            InputError: always.
        """
        return self.to("cuda")

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Refuse weights: those of the engine's graphs stay.

        Raises:
            InputError: always.
        """
        raise InputError("a compiled model takes no weights: load them into the model it was made from, and compile it again")

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Refuse to be copied or pickled: an engine's graphs are neither.

        Raises:
            InputError: always.
        """
        raise InputError(
            "a compiled model can't be copied or pickled: write it with zoo.save, and read it with zoo.load where it is needed"
        )

    def write(self, folder: Path) -> dict[str, Any]:
        """Write the networks and the names of the classes."""
        networks = self._supply.write(folder)
        files = {path.name: file_fingerprint(path) for path in sorted(folder.iterdir())}
        write_text(folder / "labels.txt", "".join(f"{name}\n" for name in self.classes))
        return {"compiled": {**self.making.to_dict(), "fingerprints": self.fingerprints, "networks": networks, "files": files}}
