"""Compiled models, whose networks are run by an engine or loaded from the files of an export. They are used like any other model."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from shutil import copyfile
from typing import Any, Protocol

import torch
from torch import Tensor

from zoo.data.fingerprint import file_fingerprint
from zoo.engines import ENGINES, Runner, Tensors, or_else
from zoo.errors import InputError
from zoo.images.preprocess import Picture, as_float
from zoo.models.builder import components
from zoo.models.config import ModelConfig
from zoo.models.model import Model
from zoo.system.files import write_text
from zoo.system.wording import reason
from zoo.task.head import AnyImages, PooledBatch

PICTURES = "pictures"  # name of the network of backbone and head

SizeHW = tuple[int, int]


@dataclass(frozen=True)
class Agreement:
    """Agreement of a compiled model with the original model in eager float32.

    Attributes:
        pictures: number of images that were compared.
        relative_error: maximum error of the first network's outputs, relative to the largest value of each output.
        agreement: fraction of predictions (classes, boxes, embeddings) that are equal; None if there were no predictions to compare.
        score: name of the score of both models; None if the data has no ground truth.
        eager: score of the original model in eager float32; None if the data has no ground truth.
        compiled: score of the compiled model; None if the data has no ground truth.
    """

    pictures: int
    relative_error: float
    agreement: float | None
    score: str | None = None
    eager: float | None = None
    compiled: float | None = None

    def __str__(self) -> str:
        """Return a one-line summary."""
        parts = [f"{self.pictures} images: largest relative error {self.relative_error:.1e}"]
        parts += [] if self.agreement is None else [f"{100 * self.agreement:.2f} % of the predictions equal"]
        if self.score is not None and self.eager is not None and self.compiled is not None:
            parts.append(f"{self.score} {self.compiled:.4f} (eager {self.eager:.4f})")
        return ", ".join(parts)


@dataclass(frozen=True)
class Making:
    """Properties of a compiled model.

    Attributes:
        engine: name of the engine.
        precision: numeric precision.
        threads: number of CPU threads.
        agreement: agreement with the original model in eager float32.
    """

    engine: str
    precision: str
    threads: int
    agreement: Agreement

    def to_dict(self) -> dict[str, Any]:
        """Return the representation in model.json. It omits the number of threads, which depends on the machine."""
        return {"engine": self.engine, "precision": self.precision, "agreement": asdict(self.agreement)}


class Supply(Protocol):
    """Interface of the source of a compiled model's networks."""

    def made_for(self, size_hw: SizeHW) -> SizeHW | None:
        """Return `size_hw` if there is a graph for this image size, None for a graph for any size, or raise an `InputError`."""

    def runner(self, name: str, size_hw: SizeHW | None) -> Runner:
        """Return the runner of a network. `size_hw` is None for a graph for any size, or for a network whose input isn't images."""

    def write(self, folder: Path) -> list[dict[str, Any]]:
        """Write all networks to a folder, and return a dict with the keys "name", "file" and "size_hw" for each network."""


class Compiled(Model):
    """Inference-only model without parameters, whose networks are run by an engine."""

    def __init__(
        self, config: ModelConfig, metadata: Mapping[str, Any], fingerprints: dict[str, str], supply: Supply, making: Making
    ) -> None:
        """Assemble a compiled model. User code should call `zoo.compile` or `zoo.load` instead."""
        with torch.device("meta"):  # the layers are never called, so their parameters need no memory
            backbone, heads, adapters, *_ = components(config)
            super().__init__(backbone, heads, adapters, config, metadata)
        super().train(False)
        self.fingerprints, self.making, self._supply = fingerprints, making, supply
        self.compiled, self.precision = True, making.precision
        self._takes_bytes = ENGINES[making.engine].takes_bytes
        self._runners: dict[tuple[str, SizeHW | None], Runner] = {}  # for the first network at most two: own image size, any size
        self._alone = threading.Lock()  # the outputs of an engine are valid only until its next call
        self.head.replace({name: partial(self._compute, name, None) for name in self.head.networks()})

    @property
    def device(self) -> torch.device:
        """The device of the outputs: always the CPU."""
        return torch.device("cpu")

    def forward(self, images: AnyImages | Tensor | Sequence[Picture], targets: Any = None, tasks: Sequence[str] | None = None) -> Any:
        """Return predictions in the task's format.

        Raises:
            InputError: the model doesn't support the size of the images, or pooled features or targets were passed.
        """
        if targets is not None or isinstance(images, PooledBatch):
            raise InputError("a compiled model accepts only images; for losses and pooled features, use the model it was compiled from")
        batch = self.preprocess.batch(images).to(self.device)
        self.check(batch)
        with self._alone, torch.no_grad(), torch.autocast("cpu", enabled=False):
            tensors = self._first(batch.pixels)
            answer = self.head.answered(tensors, batch)
            return answer.clone() if any(answer is tensor for tensor in tensors) else answer

    def tensors(self, pixels: Tensor) -> Tensors:
        """Return the outputs of the network of backbone and head for images [B, 3, H, W], float in 0–1 or uint8."""
        with self._alone, torch.no_grad(), torch.autocast("cpu", enabled=False):
            return tuple(tensor.clone() for tensor in self._first(pixels))

    def _first(self, pixels: Tensor) -> Tensors:
        size = self._supply.made_for((pixels.shape[2], pixels.shape[3]))
        taken = pixels.dtype == torch.uint8 and self._takes_bytes
        return self._compute(PICTURES, size, pixels if taken else as_float(pixels).float())

    def _compute(self, name: str, size_hw: SizeHW | None, pixels: Tensor) -> Tensors:
        if len(pixels) == 0:  # a detector's second stage without proposals
            return tuple(tensor[:0] for tensor in self._compute(name, size_hw, pixels.new_zeros((1, *pixels.shape[1:]))))
        if (name, size_hw) not in self._runners:
            self._runners[name, size_hw] = self._supply.runner(name, size_hw)
        return self._runners[name, size_hw](pixels)

    def engine_details(self) -> dict[str, Any]:
        """Return the engine, the precision and the agreement, as JSON-serialisable values."""
        return self.making.to_dict()

    def train(self, mode: bool = True) -> Compiled:
        """Return the model unchanged, or raise an `InputError` if `mode` is true: a compiled model is always in evaluation mode."""
        if mode:
            raise InputError("a compiled model can't be trained: train the model it was compiled from, and compile it again")
        return self

    def to(self, *args: Any, **kwargs: Any) -> Compiled:
        """Return the model unchanged, or raise an `InputError` if the device is not the CPU."""
        device, *_ = torch._C._nn._parse_to(*args, **kwargs)
        if device is not None and device.type != "cpu":
            raise InputError(f"a compiled model runs on the CPU, not on {device}; use device='cpu' (--device cpu)")
        return self

    def cuda(self, device: Any = None) -> Compiled:
        """Raise an `InputError`, since a compiled model can't be moved to a GPU."""
        return self.to("cuda")

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Raise an `InputError`, since the weights in an engine's graphs can't be changed."""
        raise InputError("a compiled model can't load weights: load them into the model it was compiled from, and compile it again")

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Raise an `InputError`, since an engine's graphs can't be copied or pickled."""
        raise InputError("a compiled model can't be copied or pickled: save it with zoo.save, and load it with zoo.load where it is needed")

    def write(self, folder: Path) -> dict[str, Any]:
        """Write the networks and `labels.txt` to a folder, and return the entry for model.json."""
        networks = self._supply.write(folder)
        files = {path.name: file_fingerprint(path) for path in sorted(folder.iterdir())}
        write_text(folder / "labels.txt", "".join(f"{name}\n" for name in self.classes))
        return {"compiled": {**self.making.to_dict(), "fingerprints": self.fingerprints, "networks": networks, "files": files}}


class Stored:
    """Networks stored in the files of an exported model."""

    def __init__(self, folder: Path, networks: Sequence[Mapping[str, Any]], making: Making, files: Mapping[str, str]) -> None:
        """Prepare to read networks. `files` maps file names to fingerprints from the export; it is empty for exports by old versions."""
        self._folder, self._networks, self._making, self._known = folder, list(networks), making, files
        self._engine = ENGINES[making.engine]()
        self._files = {(each["name"], tuple(each["size_hw"]) if each["size_hw"] else None): each["file"] for each in networks}

    def made_for(self, size_hw: SizeHW) -> SizeHW | None:
        """Return `size_hw` if there is a graph for images of this size; None if the graph accepts images of any size."""
        if (PICTURES, None) in self._files:
            return None
        if (PICTURES, size_hw) not in self._files:
            sizes = " or ".join(f"{size[0]}×{size[1]}" for _, size in self._files if size)
            raise InputError(
                f"{self._folder}: this exported model accepts images of {sizes} pixels, not of {size_hw[0]}×{size_hw[1]}; "
                "export it at that size"
            )
        return size_hw

    def runner(self, name: str, size_hw: SizeHW | None) -> Runner:
        """Read a network from its files and return its runner. Raise an `InputError` if that fails, or a file changed since the export."""
        if (name, size_hw) not in self._files:
            raise InputError(f"{self._folder}: model.json lists no graph for the network {name!r}; export the model again")
        path = self._folder / self._files[name, size_hw]
        try:
            for file, known in self._known.items():
                if Path(file).stem == path.stem and file_fingerprint(self._folder / file) != known:
                    raise InputError(f"{self._folder / file} is damaged, or isn't the file that was exported; export the model again")
            run = self._engine.start(self._engine.read(path), self._making.precision, self._making.threads)  # type: ignore[arg-type]
        except InputError:
            raise
        except Exception as error:  # engines raise errors of any class
            raise InputError(f"{path} can't be read ({reason(error)}); export the model again") from error

        def refused(error: Exception, *inputs: Tensor) -> Tensors:
            raise InputError(
                f"{path}: this graph doesn't support inputs of shape {tuple(inputs[0].shape)} ({reason(error)}); use the model that it was "
                "exported from, or another format"
            ) from error

        return or_else(run, refused)

    def write(self, folder: Path) -> list[dict[str, Any]]:
        """Copy the files of all networks to a folder, and return the networks' entries for model.json."""
        stems = {Path(each["file"]).stem for each in self._networks}
        for path in self._folder.iterdir():
            if path.stem in stems and path.suffix != ".json":
                copyfile(path, folder / path.name)
        return [dict(each) for each in self._networks]


def load_compiled(folder: Path, config: ModelConfig, metadata: Mapping[str, Any], compiled: Mapping[str, Any]) -> Compiled:
    """Load an exported model from its folder and the values that `read_description` returns for it."""
    try:
        agreement = Agreement(**compiled["agreement"])
        making = Making(compiled["engine"], compiled["precision"], torch.get_num_threads(), agreement)
        if making.precision not in ENGINES[making.engine].precisions:
            raise ValueError(f"precision {making.precision!r}")
        fingerprints = {name: str(compiled["fingerprints"][name]) for name in ("model", "embeddings")}
        networks = [{"name": each["name"], "file": each["file"], "size_hw": each["size_hw"]} for each in compiled["networks"]]
        if PICTURES not in [each["name"] for each in networks]:
            raise ValueError(f"no network {PICTURES!r}")
        files = dict(compiled.get("files", {}))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{folder / 'model.json'}: the entry 'compiled' is invalid ({reason(error)}); export the model again") from error
    missing = ENGINES[making.engine].missing()
    if missing is not None:
        raise InputError(f"{folder}: {missing}")
    return Compiled(config, metadata, fingerprints, Stored(folder, networks, making, files), making)
