"""Compiled models, whose networks are run by an engine. They are used like any other model."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from zoo.data.fingerprint import file_fingerprint
from zoo.engines import ENGINES, Runner, Tensors
from zoo.errors import InputError
from zoo.images.preprocess import ImageBatch, Picture, as_float
from zoo.models.builder import components
from zoo.models.config import ModelConfig
from zoo.models.model import Model
from zoo.models.networks import first_networks, further_networks, replace_further
from zoo.models.passes import Pass
from zoo.system.files import write_text
from zoo.task.head import AnyImages, PooledBatch

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
        if not self.pictures:
            return "not compared, because it runs in eager float32 like the original"
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
        agreement: agreement with the original model in eager float32, an `Agreement`; for several heads, a dict from head name to it.
    """

    engine: str
    precision: str
    threads: int
    agreement: Any

    def __str__(self) -> str:
        """Return the agreement in one line."""
        if isinstance(self.agreement, Agreement):
            return str(self.agreement)
        return "; ".join(f"{name}: {agreement}" for name, agreement in self.agreement.items())

    def to_dict(self) -> dict[str, Any]:
        """Return the representation in model.json. It omits the number of threads, which depends on the machine."""
        one = isinstance(self.agreement, Agreement)
        agreement = asdict(self.agreement) if one else {name: asdict(each) for name, each in self.agreement.items()}
        return {"engine": self.engine, "precision": self.precision, "agreement": agreement}


class Supply(Protocol):
    """Interface of the source of a compiled model's networks."""

    def made_for(self, name: str, size_hw: SizeHW) -> SizeHW | None:
        """Return `size_hw` if a pass has a graph for this image size, None for a graph for any size, or raise an `InputError`."""

    def outputs(self, name: str) -> Mapping[str, Sequence[int]]:
        """Return the positions of each head's tensors among the outputs of a pass; empty for a model with one head."""

    def runner(self, name: str, size_hw: SizeHW | None) -> Runner:
        """Return the runner of a network. `size_hw` is None for a graph for any size, or for a network whose input isn't images."""

    def write(self, folder: Path) -> list[dict[str, Any]]:
        """Write all networks to a folder, and return a dict with the keys "name", "file" and "size_hw" for each network."""


class Compiled(Model):
    """Inference-only model without parameters, whose networks are run by an engine.

    The graph of a pass computes the backbone once, and the tensors of all heads of the pass. If only some of these heads are chosen with
    `tasks`, the rest of the work is saved for the others, such as that on a detector's proposals.
    """

    def __init__(
        self, config: ModelConfig, metadata: Mapping[str, Any], fingerprints: dict[str, Any], supply: Supply, making: Making
    ) -> None:
        """Assemble a compiled model. User code should call `zoo.compile` or `zoo.load` instead."""
        with torch.device("meta"):  # the layers are never called, so their parameters need no memory
            backbone, heads, adapters, *_ = components(config)
            super().__init__(backbone, heads, adapters, config, metadata)
        super().train(False)
        self.fingerprints, self.making, self.supply = fingerprints, making, supply
        self.compiled, self.precision = True, making.precision
        self._takes_bytes = ENGINES[making.engine].takes_bytes
        self._runners: dict[tuple[str, SizeHW | None], Runner] = {}  # for each pass at most two: own image size, any size
        self._alone = threading.Lock()  # the outputs of an engine are valid only until its next call
        self._pass_of = {head: name for name, way in first_networks(config).items() for head in way.heads}
        replace_further(self, {name: partial(self._compute, name, None) for name in further_networks(self)})

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
        chosen = self._chosen(tasks)
        found = self._computed(images, dict.fromkeys(chosen))
        return {name: found[name] for name in chosen} if self.is_joint else found[chosen[0]]

    def _pass(self, way: Pass, batch: ImageBatch, targets: Mapping[str, Any]) -> dict[str, Any]:
        return self._answers(way.heads, batch)

    def _answers(self, heads: Sequence[str], batch: ImageBatch) -> dict[str, Any]:
        """Return the predictions of heads that share a pass."""
        with self._alone, torch.no_grad(), torch.autocast("cpu", enabled=False):
            by_head, found = self._first(batch.pixels, heads), {}
            for name, tensors in by_head.items():
                answer = self._head(name).answered(tensors, batch)
                found[name] = answer.clone() if any(answer is tensor for tensor in tensors) else answer
            return found

    def tensors(self, pixels: Tensor) -> Tensors:
        """Return the result of `Head.tensors` for the only head and images [B, 3, H, W], float in 0–1 or uint8."""
        _ = self.config.only
        return self._tensors(next(iter(self.heads)), pixels)

    def _tensors(self, name: str, pixels: Tensor) -> Tensors:
        with self._alone, torch.no_grad(), torch.autocast("cpu", enabled=False):
            return tuple(tensor.clone() for tensor in self._first(pixels, [name])[name])

    def _first(self, pixels: Tensor, heads: Sequence[str]) -> dict[str, Tensors]:
        """Return the tensors of heads that share a pass."""
        name = self._pass_of[heads[0]]
        size = self.supply.made_for(name, (pixels.shape[2], pixels.shape[3]))
        taken = pixels.dtype == torch.uint8 and self._takes_bytes
        tensors = self._compute(name, size, pixels if taken else as_float(pixels).float())
        outputs = self.supply.outputs(name)
        return {head: tuple(tensors[place] for place in outputs[head]) if outputs else tensors for head in heads}

    def _compute(self, name: str, size_hw: SizeHW | None, pixels: Tensor) -> Tensors:
        if len(pixels) == 0:  # a detector's second stage without proposals
            return tuple(tensor[:0] for tensor in self._compute(name, size_hw, pixels.new_zeros((1, *pixels.shape[1:]))))
        if (name, size_hw) not in self._runners:
            self._runners[name, size_hw] = self.supply.runner(name, size_hw)
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
        """Write the networks and the class names to a folder, and return the entry for model.json."""
        networks = self.supply.write(folder)
        files = {path.name: file_fingerprint(path) for path in sorted(folder.iterdir())}
        for name, head in self.config.heads.items():
            write_text(folder / labels_file(self.config, name), "".join(f"{each}\n" for each in head.classes))
        return {"compiled": {**self.making.to_dict(), "fingerprints": self.fingerprints, "networks": networks, "files": files}}

    def view(self, name: str) -> Compiled:
        """Return a model with one head, which uses the graphs of this model. Its head is named after its task.

        Raises:
            UnknownNameError: the model has no head of that name.
        """
        (name,) = self._chosen([name])
        return self if [*self.config.heads] == [name] and name == self.config.task else CompiledView(self, name)


class CompiledView(Compiled):
    """One head of a compiled model as a model with one head, which uses the graphs of the compiled model."""

    def __init__(self, whole: Compiled, name: str) -> None:
        """Select a head. User code should call `view` of the compiled model instead."""
        config, making = whole.config.alone(name), whole.making
        Model.__init__(self, whole.backbone, {config.task: whole._head(name)}, {}, config, whole.head_metadata(name))
        Model.train(self, False)
        joint = whole.is_joint
        self.making = replace(making, agreement=making.agreement[name]) if joint else making
        self.fingerprints = whole.fingerprints["heads"][name] if joint and whole.fingerprints else whole.fingerprints
        self.compiled, self.precision, self.encrypted = True, whole.precision, whole.encrypted
        self._whole_metadata = whole.metadata
        self._whole, self._name = (whole,), name  # in a tuple, since the whole model isn't a submodule

    def _answers(self, heads: Sequence[str], batch: ImageBatch) -> dict[str, Any]:
        (whole,) = self._whole
        return {name: whole._answers([self._name], batch)[self._name] for name in heads}

    def _tensors(self, name: str, pixels: Tensor) -> Tensors:
        return self._whole[0]._tensors(self._name, pixels)

    def write(self, folder: Path) -> dict[str, Any]:
        """Raise an `InputError`, since the graphs compute the other heads as well."""
        raise InputError(f"the head {self._name!r} of a compiled model can't be saved alone; save the whole model, or compile zoo.split(…)")


def labels_file(config: ModelConfig, head: str) -> str:
    """Return the name of the file with the class names of a head: "labels.txt", or "labels-NAME.txt" if there are several heads."""
    return f"labels-{head}.txt" if len(config.heads) > 1 else "labels.txt"
