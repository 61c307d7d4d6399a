"""The model to compile, and the images for comparison, calibration and scoring."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

from zoo.compilation.agreement import DisagreementError, check, compare
from zoo.compilation.conversion import Conversion
from zoo.data.dataset import Dataset, OnError, Record
from zoo.data.folders import picture_files
from zoo.engines import ENGINES, Engine, Judge, Runner, Tensors
from zoo.errors import DataError, ImageError, InputError
from zoo.images.decoding import Image
from zoo.images.preprocess import ImageBatch, as_float
from zoo.models.compiled import PICTURES, Agreement, Compiled, Making
from zoo.models.fingerprint import fingerprints
from zoo.models.model import Model
from zoo.system.precision import EnginePrecision
from zoo.system.progress import Progress
from zoo.system.wording import counted
from zoo.task.contract import Task

_CALIBRATION = 300  # maximum number of images for calibration, which is NNCF's default
_ENOUGH = 100  # recommended minimum number of images for calibration; with fewer, a message recommends more
_COMPARED, _COMPARED_PIXELS = 64, 8 * 224 * 224  # maximum numbers of images and pixels in a batch, and in all built-in images together


@dataclass(frozen=True)
class Source:
    """The model to compile, and the images for comparison, calibration and scoring."""

    model: Model  # copy of the original, in evaluation mode, on the CPU
    fingerprints: dict[str, str]  # of the original
    pictures: Dataset  # the user's images, or a few built-in ones
    given: bool  # whether the images are the user's
    has_truth: bool  # whether the images are the user's and have ground truth, so that scores can be measured
    say: Callable[[str], None]
    progress: Progress
    on_error: OnError
    left_out: set[str] = field(default_factory=set)  # reported messages about skipped images, so that none is reported twice

    @classmethod
    def of(cls, model: Model, data: object, on_error: OnError, say: Callable[[str], None], progress: Progress) -> Source:
        """Copy a model and open the data; the arguments are those of `zoo.compile`."""
        task = model.definition
        plain = _plain_pictures(data)
        if data is None and task.data.sample_data is None:
            raise InputError(f"the task {task.name} has no built-in images to compare on: pass data= (--calibration)")
        opened = plain or task.open(task.data.sample_data if data is None else data, on_error, progress.say)
        copied = copy.deepcopy(model).to(device=torch.device("cpu")).eval().requires_grad_(False)
        copied.to(memory_format=torch.channels_last)
        given = data is not None
        return cls(copied, fingerprints(model), opened, given, given and plain is None, say, progress, on_error)

    @property
    def task(self) -> Task:
        """The task of the model."""
        return self.model.definition

    def batches(self, count: int, size: int) -> Iterator[ImageBatch]:
        """Yield `count` evenly spaced images in prepared batches of up to `size` images."""
        records = self.pictures.records
        chosen, read = [records[place * len(records) // count] for place in range(count)], 0
        for first in range(0, len(chosen), size):
            pictures = list(self._readable(chosen[first : first + size]))
            read += len(pictures)
            if pictures:
                yield self.model.preprocess.batch(pictures)
        if not read:
            raise DataError(f"data {self.pictures.name}: none of the {count} images for the comparison can be read")

    def _readable(self, records: Sequence[Record]) -> Iterator[Image]:
        for record in records:
            try:
                yield record.load().image
            except ImageError as error:
                if self.on_error == "raise":
                    raise
                if str(error) not in self.left_out:  # images are read for calibration, and again for comparison
                    self.say(f"skipped: {error}")
                self.left_out.add(str(error))

    def compared(self) -> Iterator[ImageBatch]:
        """Yield the images for the comparison of outputs, in prepared batches."""
        height, width = self.model.preprocess.size_hw
        fitting = min(_COMPARED, _COMPARED_PIXELS // (height * width))
        count, size = min(len(self.pictures), _CALIBRATION if self.given else max(2, fitting)), max(1, fitting)
        return self.progress.track(self.batches(count, size), "comparing", -(-count // size))

    @cached_property
    def eager_score(self) -> float:
        """Primary score of the original model on all images, computed once and reused for every comparison."""
        return self.score(self.model)

    def score(self, model: Model, numbers: Sequence[int] | None = None) -> float:
        """Return the primary score of a model on all images, or on the images with the given indices."""
        from zoo.evaluation.evaluate import evaluate

        records = self.pictures.records
        data = self.pictures if numbers is None else replace(self.pictures, records=tuple(records[number] for number in numbers))
        scores = evaluate(model, data, device="cpu", replicates=0, on_error=self.on_error, progress=self.progress)
        return scores[self.task.scoring.primary_score] or 0.0  # the score is None for both models if there is too little data

    def compiled(self, engine: Engine, precision: EnginePrecision) -> Compiled:
        """Return the model compiled for an engine. Raise a `DisagreementError` if its predictions disagree with the original model."""
        if (engine.name, precision) == ("eager", "fp32"):  # the computation is the same, so no comparison is necessary
            return self._made(self._conversion(engine, precision), Agreement(0, 0.0, 1.0))
        try:
            return self._checked(self._conversion(engine, precision))
        except DisagreementError as error:
            if precision != "int8" or not self.has_truth:
                raise
            self.say(f"{error}. Leaving layers unquantised until it agrees, which takes a while")
        return self._checked(self._conversion(engine, precision, self._judge))

    def _conversion(self, engine: Engine, precision: EnginePrecision, judge: Callable[[str], Judge] | None = None) -> Conversion:
        samples = self._samples if precision == "int8" else {}
        if samples and judge is None:
            count, unscored = len(samples[PICTURES]), "" if self.has_truth else "; without ground truth the scores can't be compared"
            few = "; 100 or more are better" if count < _ENOUGH else ""
            if few or unscored:
                self.say(f"int8 is calibrated on {counted(count, 'image')}{few}{unscored}")
        return Conversion(self.model, self.fingerprints["model"], engine, precision, torch.get_num_threads(), samples, judge, self.say)

    def _made(self, conversion: Conversion, agreement: Agreement) -> Compiled:
        making = Making(conversion.engine.name, conversion.precision, conversion.threads, agreement)
        return Compiled(self.model.config, self.model.metadata, self.fingerprints, conversion, making)

    def _checked(self, conversion: Conversion) -> Compiled:
        compiled = self._made(conversion, Agreement(0, 0.0, None))
        agreement = compare(self.model, compiled, self.compared(), self.task)
        if self.has_truth:
            agreement = replace(agreement, score=self.task.scoring.primary_score, eager=self.eager_score, compiled=self.score(compiled))
        if len(conversion.refused) == 1 + len(self.model.head.networks()):
            raise conversion.refused[PICTURES]
        check(agreement, compiled.making, self.task)
        compiled.making = replace(compiled.making, agreement=agreement)
        return compiled

    @cached_property
    def _samples(self) -> dict[str, list[Tensors]]:
        """Inputs for calibration, by network name, computed once from the images and reused for all engines and attempts."""
        found: dict[str, list[Tensors]] = {PICTURES: []}
        head, count = self.model.head, min(_CALIBRATION, len(self.pictures))

        def recorded(name: str, network: nn.Module) -> Runner:
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

    def _judge(self, name: str) -> Judge:
        """Return the scorer of candidates for one network. The model's other networks run in eager."""
        eager = self._conversion(ENGINES["eager"](), "fp32")

        def score(runner: Runner, numbers: Sequence[int]) -> float:
            return self.score(self._made(replace(eager, replaced={name: runner}), Agreement(0, 0.0, None)), numbers)

        return Judge(len(self.pictures), self.task.scoring.tolerance["int8"], score)


def _plain_pictures(data: object) -> Dataset | None:
    """Return the images of a folder as a dataset if the folder has neither subfolders with images nor annotations; otherwise None."""
    if not isinstance(data, str | Path) or not Path(data).is_dir():
        return None
    folder = Path(data)
    found = picture_files(folder)
    annotated = any(path.suffix.lower() in (".json", ".csv", ".xml", ".txt") for path in folder.iterdir())
    if not found or annotated or any(path.parent != folder for path in found):
        return None
    return Dataset(str(data), tuple(Record(str(path), path, None) for path in found))
