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

from zoo.engines import ENGINES, Runner, Tensors, or_else
from zoo.errors import InputError
from zoo.files import write_text
from zoo.model import Model
from zoo.model_config import ModelConfig
from zoo.pooling import AnyImages, PooledBatch
from zoo.preprocess import Picture, as_float
from zoo.wording import reason

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
            super().__init__(config)
        super().train(False)
        self.metadata = dict(metadata)
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
        return self._compute(PICTURES, size, pixels if self._takes_bytes else as_float(pixels))

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

    def write(self, folder: Path) -> dict[str, Any]:
        """Write the networks and the names of the classes."""
        networks = self._supply.write(folder)
        write_text(folder / "labels.txt", "".join(f"{name}\n" for name in self.classes))
        return {"compiled": {**self.making.to_dict(), "fingerprints": self.fingerprints, "networks": networks}}


class Stored:
    """Networks in the files of an exported model."""

    def __init__(self, folder: Path, networks: Sequence[Mapping[str, Any]], making: Making) -> None:
        """Remember where they are.

        Args:
            folder: of the model.
            networks: as model.json lists them.
            making: how they are to be computed.
        """
        self._folder, self._networks, self._making = folder, list(networks), making
        self._engine = ENGINES[making.engine]()
        self._files = {(each["name"], tuple(each["size_hw"]) if each["size_hw"] else None): each["file"] for each in networks}

    def made_for(self, size_hw: SizeHW) -> SizeHW | None:
        """Return the size of the graph that takes pictures of this size; None for the one that takes any.

        Raises:
            InputError: there is none.
        """
        if (PICTURES, None) in self._files:
            return None
        if (PICTURES, size_hw) not in self._files:
            sizes = " or ".join(f"{size[0]}×{size[1]}" for _, size in self._files if size)
            raise InputError(
                f"{self._folder}: this exported model takes pictures of {sizes} pixels, not of {size_hw[0]}×{size_hw[1]}; "
                "export it at that size"
            )
        return size_hw

    def runner(self, name: str, size_hw: SizeHW | None) -> Runner:
        """Read a network and start it.

        Raises:
            InputError: its file is damaged, or isn't listed.
        """
        if (name, size_hw) not in self._files:
            raise InputError(f"{self._folder}: model.json names no graph of the network {name!r}; export the model again")
        path = self._folder / self._files[name, size_hw]
        try:
            converted = self._engine.read(path)
        except Exception as error:  # readers of foreign formats raise anything
            raise InputError(f"{path}: can't be read ({reason(error)}); export the model again") from error
        run = self._engine.start(converted, self._making.precision, self._making.threads)  # type: ignore[arg-type]

        def refused(error: Exception, *inputs: Tensor) -> Tensors:
            raise InputError(
                f"{path}: this graph can't take inputs of the shape {tuple(inputs[0].shape)} ({reason(error)}); use the model that it was "
                "exported from, or another format"
            ) from error

        return or_else(run, refused)

    def write(self, folder: Path) -> list[dict[str, Any]]:
        """Copy the files."""
        from shutil import copyfile

        stems = {Path(each["file"]).stem for each in self._networks}
        for path in self._folder.iterdir():
            if path.stem in stems and path.suffix != ".json":
                copyfile(path, folder / path.name)
        return [dict(each) for each in self._networks]


def load_compiled(folder: Path, config: ModelConfig, metadata: Mapping[str, Any], compiled: Mapping[str, Any]) -> Compiled:
    """Rebuild an exported model.

    Args:
        folder: where it is.
        config: what its model.json says.
        metadata: likewise.
        compiled: likewise, of its engine and networks.

    Raises:
        InputError: its engine isn't installed.
    """
    making = Making.from_dict(compiled, torch.get_num_threads())
    missing = ENGINES[making.engine].missing()
    if missing is not None:
        raise InputError(f"{folder}: {missing}")
    return Compiled(config, metadata, compiled["fingerprints"], Stored(folder, compiled["networks"], making), making)
