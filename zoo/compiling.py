"""`zoo.compile`: hand a model's networks to an engine, and hand the result out when it answers as the model does."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from zoo.compiled import PICTURES, Agreement, Compiled, Making, sizes_free
from zoo.data import Dataset, Record
from zoo.engines import ENGINES, Engine, EnginePrecision, Network, Runner, Tensors
from zoo.errors import InputError, ZooError
from zoo.fingerprint import model_fingerprint
from zoo.hardware import cpu_has_bf16
from zoo.model import Model
from zoo.network_cache import converted, network_key
from zoo.picture_folders import picture_files
from zoo.preprocess import ImageBatch, as_float
from zoo.progress import Progress
from zoo.schemes import open_data
from zoo.task import Task, get_task

AskedPrecision = Literal["auto", "fp32", "bf16", "int8"]
_CALIBRATION = 300  # pictures: what NNCF's own documents take
_COMPARED, _COMPARED_PIXELS = 64, 8 * 224 * 224  # pictures, and their pixels, that both look at where no data was given
SAME = 0.995  # the part of the answers that must be the same
_ERRORS = {"fp32": 1e-3, "bf16": 0.2}  # of the first network's numbers, as a part of the largest


class DisagreementError(ZooError):
    """A compiled model answers otherwise than eager float32 does."""


def compile(
    model: Model,
    engine: str = "auto",
    precision: AskedPrecision = "auto",
    *,
    data: object = None,
    batch_size: int | None = None,
    tune_seconds: float = 20.0,
    say: Callable[[str], None] | None = None,
    progress: Progress | None = None,
) -> Compiled:
    """Return a model that is called, evaluated and saved like the given one, and computed by an engine.

    It is compared with the model in eager float32 before it is handed out, and carries the figures as `making.agreement`.

    Args:
        model: any model of the zoo; it stays as it is.
        engine: a name of `zoo.list_engines()`, or "auto" for the quickest of those installed, measured here, once: what won is kept.
        precision: "fp32", "bf16", "int8" (needs `data`), or "auto": bf16 where the processor has it and it agrees, else fp32.
        data: what to compare, and for int8 to calibrate, on: a dataset string, a path or samples. With truth in it the scores of both are
            compared too. None for a few built-in pictures.
        batch_size: that "auto" measures with; None for what suits the size of the pictures.
        tune_seconds: that "auto" may measure for.
        say: told what was compared and chosen.
        progress: where bars are drawn; None for nowhere.

    Raises:
        InputError: an engine that isn't installed or can't take the model, int8 without data, or a model that is compiled already.
        UnknownNameError: no such engine.
        DisagreementError: the compiled model's answers are too far from the model's.

    Example:
        >>> import zoo
        >>> model = zoo.build("resnet20", classes=["cat", "dog"])
        >>> zoo.compile(model, engine="eager").making.agreement.agreement
        1.0
    """
    if isinstance(model, Compiled):
        raise InputError(
            f"the model is compiled already (engine {model.making.engine}, {model.precision}); compile the one it was made from"
        )
    if precision not in ("auto", "fp32", "bf16", "int8"):
        raise InputError(f"precision is {precision!r}; expected auto, fp32, bf16 or int8")
    if precision == "int8" and data is None:
        raise InputError("int8 is calibrated on pictures, and there are none: give data= (--calibration), some hundred of your own")
    say = say or (lambda text: None)
    source = Source.of(model, data, progress or Progress(enabled=False))
    if engine == "auto":
        from zoo.tuning import quickest

        return quickest(source, precision, batch_size, tune_seconds, say)
    chosen = ENGINES[engine]()
    missing = chosen.missing()
    if missing is not None:
        raise InputError(missing)
    settled: EnginePrecision = ("bf16" if cpu_has_bf16() and "bf16" in chosen.precisions else "fp32") if precision == "auto" else precision
    if settled not in chosen.precisions:
        raise InputError(f"the engine {engine} has no {settled}; it has {', '.join(chosen.precisions)}")
    compiled = source.compiled(chosen, settled)
    say(f"engine {engine}, {settled}: {compiled.making.agreement}")
    return compiled


@dataclass(frozen=True)
class Source:
    """A model that is to be compiled, and pictures.

    Attributes:
        model: a copy, in evaluation mode, on the CPU.
        fingerprint: its.
        pictures: what to compare and calibrate on.
        has_truth: whether they are the user's, with targets that scores can be measured by.
        progress: where bars are drawn.
    """

    model: Model
    fingerprint: str
    pictures: Dataset
    has_truth: bool
    progress: Progress

    @classmethod
    def of(cls, model: Model, data: object, progress: Progress) -> Source:
        """Copy a model and open data.

        Raises:
            InputError: the data is wrong, or has no picture.
        """
        task = get_task(model.task)
        plain = _plain_pictures(data)
        opened = plain or open_data(task.sample_data if data is None else data, task.schemes, task.name, say=progress.say)
        copied = copy.deepcopy(model).to(device=torch.device("cpu")).eval().requires_grad_(False)
        copied.to(memory_format=torch.channels_last)
        return cls(copied, model_fingerprint(model), opened, data is not None and plain is None, progress)

    @property
    def task(self) -> Task:
        """The model's task."""
        return get_task(self.model.task)

    def batches(self, count: int, size: int) -> Iterator[ImageBatch]:
        """Yield so many of the pictures, evenly spread, in batches."""
        records = self.pictures.records
        chosen = [records[place * len(records) // count] for place in range(count)] if count < len(records) else list(records)
        for first in range(0, len(chosen), size):
            images = [record.load().image for record in chosen[first : first + size]]
            yield self.model.preprocess.batch(images)

    @property
    def compared(self) -> int:
        """How many pictures both look at."""
        height, width = self.model.preprocess.size_hw
        return len(self.pictures) if self.has_truth else min(len(self.pictures), _COMPARED, max(2, _COMPARED_PIXELS // (height * width)))

    def compiled(self, engine: Engine, precision: EnginePrecision) -> Compiled:
        """Return the model, computed by an engine, when it answers like the model.

        Raises:
            InputError: the engine can't take it.
            DisagreementError: it doesn't.
        """
        threads = torch.get_num_threads()
        making = Making(engine.name, precision, threads, Agreement(0, 0.0, None))
        compiled = Compiled(self.model.config, self.model.metadata, self.fingerprint, self.supply(engine, precision, threads), making)
        if (engine.name, precision) == ("eager", "fp32"):  # the same computation, operation by operation
            compiled.making = replace(making, agreement=Agreement(0, 0.0, 1.0))
            return compiled
        agreement = self._agreement(compiled)
        check(agreement, making, self.task)
        compiled.making = replace(making, agreement=agreement)
        return compiled

    def supply(self, engine: Engine, precision: EnginePrecision, threads: int) -> Conversion:
        """Return where the networks come from."""
        samples = self._samples() if precision == "int8" else {}
        return Conversion(self.model, self.fingerprint, engine, precision, threads, samples)

    def _samples(self) -> dict[str, list[Tensors]]:
        """Return inputs of every network, from the pictures."""
        found: dict[str, list[Tensors]] = {PICTURES: []}
        head, count = self.model.head, min(_CALIBRATION, len(self.pictures))

        def recorded(name: str, network: nn.Module) -> Callable[..., Tensors]:
            def run(*inputs: Tensor) -> Tensors:
                found.setdefault(name, []).append(inputs)
                answer: Tensors = network(*inputs)
                return answer

            return run

        head.replace({name: recorded(name, network) for name, network in head.networks().items()})
        try:
            with torch.no_grad():
                for batch in self.progress.track(self.batches(count, 1), "calibrating", count):
                    found[PICTURES].append((as_float(batch.pixels),))
                    if head.networks():
                        self.model(batch)
        finally:
            head.replace({})
        return found

    def _agreement(self, compiled: Compiled) -> Agreement:
        """Let both answer for the pictures."""
        count, error, same, answers = self.compared, 0.0, 0.0, 0.0
        size = max(1, _COMPARED_PIXELS // (self.model.preprocess.size_hw[0] * self.model.preprocess.size_hw[1]))
        with torch.no_grad():
            for batch in self.progress.track(self.batches(count, size), "comparing", -(-count // size)):
                pixels = as_float(batch.pixels)
                wanted = self.model.head.tensors(self.model.levels(pixels))
                error = max(error, *(_relative(*pair) for pair in zip(wanted, compiled.tensors(pixels), strict=True)))
                pairs = zip(self.task.split(self.model.head.answered(wanted, batch)), self.task.split(compiled(batch)), strict=True)
                for want, got in pairs:
                    part, whole = self.task.agreement(want, got)
                    same, answers = same + part, answers + whole
        agreement = Agreement(count, error, same / answers if answers else None)
        return self._scored(compiled, agreement) if self.has_truth else agreement

    def _scored(self, compiled: Compiled, agreement: Agreement) -> Agreement:
        from zoo.evaluation import evaluate

        name = self.task.primary_score
        before, after = (
            evaluate(model, self.pictures, device="cpu", replicates=0, progress=self.progress)[name] for model in (self.model, compiled)
        )
        return replace(agreement, score=name, eager=before, compiled=after)


@dataclass(frozen=True)
class Conversion:
    """Networks that are converted when they are first asked for.

    Attributes:
        model: in evaluation mode, on the CPU.
        fingerprint: its.
        engine: what converts and computes them.
        precision: of the matrix work.
        threads: to compute with.
        samples: by network, inputs to quantise with; empty for networks that are not quantised.
    """

    model: Model
    fingerprint: str
    engine: Engine
    precision: EnginePrecision
    threads: int
    samples: dict[str, list[Tensors]]

    def runner(self, name: str, size_hw: tuple[int, int] | None) -> Runner:
        """Convert a network and start it."""
        return self.engine.start(self._converted(name, size_hw), self.precision, self.threads)

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
        samples = self.samples.get(name, [])
        key = network_key(self.fingerprint, network, self.engine, samples)

        def convert() -> Any:
            made = self.engine.convert(network)
            return self.engine.quantise(made, samples) if self.precision == "int8" else made

        return converted(self.engine, key, convert)

    def _network(self, name: str, size_hw: tuple[int, int] | None) -> Network:
        if name != PICTURES:
            module = self.model.head.networks()[name].eval()
            return Network(name, module, (torch.zeros(2, *module.row_shape),), ((0,),))
        height, width = size_hw or _example_hw(self.model)
        free = (0,) if size_hw else (0, 2, 3)
        return Network(name, _Pictures(self.model), (torch.zeros(2, 3, height, width),), (free,))


class _Pictures(nn.Module):
    """Normalisation, trunk, and what the head makes of it: float 0–1 [B, 3, H, W] to tensors."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> Tensors:
        return self.model.head.tensors(self.model.levels(pixels))


def check(agreement: Agreement, making: Making, task: Task) -> None:
    """Refuse a model that answers otherwise.

    Raises:
        DisagreementError: saying by how much, and what to do.
    """
    faults = []
    if making.precision != "int8":
        if agreement.relative_error > _ERRORS[making.precision]:
            faults.append(f"numbers are off by {agreement.relative_error:.2g} of the largest (at most {_ERRORS[making.precision]:g})")
        if agreement.agreement is not None and agreement.agreement < SAME:
            faults.append(f"{100 * agreement.agreement:.2f} % of the answers are the same (at least {100 * SAME:g} %)")
    if agreement.eager is not None and agreement.compiled is not None:
        allowed = task.score_tolerance[making.precision]
        if abs(agreement.eager - agreement.compiled) > allowed:
            faults.append(f"{agreement.score} is {agreement.compiled:.4f} instead of {agreement.eager:.4f} (at most {allowed:g} apart)")
    if faults:
        raise DisagreementError(
            f"the model compiled with engine {making.engine}, {making.precision}, doesn't answer as it does in eager float32, on "
            f"{agreement.pictures} pictures: {'; '.join(faults)}. Use another precision (fp32), or engine='eager'"
        )


def _plain_pictures(data: object) -> Dataset | None:
    """Return the pictures of a folder that lie there just so, without classes or annotations; None where data is anything else."""
    if not isinstance(data, str | Path) or not Path(data).is_dir():
        return None
    found = picture_files(Path(data))
    if (
        not found
        or any(path.parent != Path(data) for path in found)
        or any(path.suffix in (".json", ".csv") for path in Path(data).iterdir())
    ):
        return None
    return Dataset(str(data), tuple(Record(str(path), path, None) for path in found), ())


def _relative(wanted: Tensor, got: Tensor) -> float:
    """Return the largest difference as a part of the largest number."""
    return float((wanted - got).abs().max() / wanted.abs().max().clamp(min=1e-12))


def _example_hw(model: Model) -> tuple[int, int]:
    """Return a small size that every level of the trunk divides, with different sides."""
    step = max(32, model.backbone.levels[-1].stride)
    return 4 * step, 5 * step
