"""Images for the comparison, calibration and scoring of one head of the model to compile."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from zoo.data.dataset import Dataset, OnError, Record
from zoo.data.folders import picture_files
from zoo.engines import Judge, Runner
from zoo.errors import DataError, ImageError, InputError
from zoo.images.decoding import Image
from zoo.images.preprocess import ImageBatch
from zoo.models.model import Model
from zoo.system.progress import Progress
from zoo.task.contract import Task

CALIBRATION = 300  # maximum number of images for calibration, which is NNCF's default
_COMPARED, _COMPARED_PIXELS = 64, 8 * 224 * 224  # maximum numbers of images and pixels in a batch, and in all built-in images together


@dataclass(frozen=True)
class HeadImages:
    """Images for the comparison, calibration and scoring of one head."""

    model: Model  # with this head alone, in evaluation mode, on the CPU
    pictures: Dataset  # the user's images, or a few built-in ones
    given: bool  # whether the images are the user's
    has_truth: bool  # whether the images are the user's and have ground truth, so that scores can be measured
    say: Callable[[str], None]
    progress: Progress
    on_error: OnError
    left_out: set[str]  # reported messages about skipped images, so that none is reported twice

    @classmethod
    def of(
        cls, model: Model, data: object, on_error: OnError, say: Callable[[str], None], progress: Progress, left_out: set[str]
    ) -> HeadImages:
        """Open the data for a model with one head; the arguments are those of `zoo.compile`, and messages that were reported."""
        task = model.definition
        plain = _plain_pictures(data)
        if data is None and task.data.sample_data is None:
            raise InputError(f"the task {task.name} has no built-in images to compare on: pass data= (--calibration)")
        opened = plain or task.open(task.data.sample_data if data is None else data, on_error, progress.say)
        given = data is not None
        return cls(model, opened, given, given and plain is None, say, progress, on_error, left_out)

    def without_truth(self, model: Model) -> HeadImages:
        """Return the same images for another head, for which they have no ground truth."""
        return replace(self, model=model, has_truth=False)

    @property
    def task(self) -> Task:
        """The task of the head."""
        return self.model.definition

    @property
    def tolerance(self) -> float:
        """Maximum drop of the primary score in int8."""
        return self.task.scoring.tolerance["int8"]

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
        count, size = min(len(self.pictures), CALIBRATION if self.given else max(2, fitting)), max(1, fitting)
        return self.progress.track(self.batches(count, size), "comparing", -(-count // size))

    def few(self) -> Iterator[Image]:
        """Yield evenly spaced images as they are: up to 16, of the built-in ones 4."""
        count = min(len(self.pictures), 16 if self.given else 4)
        yield from self._readable([self.pictures.records[place * len(self.pictures) // count] for place in range(count)])

    @cached_property
    def eager_score(self) -> float:
        """Primary score of the original head on all images, computed once and reused for every comparison."""
        return self.score(self.model)

    def score(self, model: Model, numbers: Sequence[int] | None = None) -> float:
        """Return the primary score of a model with this head alone on all images, or on the images with the given indices."""
        from zoo.evaluation.evaluate import evaluate

        records = self.pictures.records
        data = self.pictures if numbers is None else replace(self.pictures, records=tuple(records[number] for number in numbers))
        scores = evaluate(model, data, device="cpu", replicates=0, on_error=self.on_error, progress=self.progress)
        return scores[self.task.scoring.primary_score] or 0.0  # the score is None for both models if there is too little data


def shared_judge(heads: Mapping[str, HeadImages], compiled: Callable[[Runner], Model]) -> Judge:
    """Return the scorer of candidates for a network of several heads. `compiled` returns the model with a candidate's runner.

    The score is the smallest difference of a head's score from that of eager, in units of the head's tolerance. So no head may lose more
    than its tolerance. The indices of images count through the data of all heads.
    """
    eager: dict[tuple[str, tuple[int, ...]], float] = {}

    def score(runner: Runner, numbers: Sequence[int]) -> float:
        model, differences, first = compiled(runner), list[float](), 0
        for name, images in heads.items():
            own = tuple(number - first for number in numbers if first <= number < first + len(images.pictures))
            first += len(images.pictures)
            if own:
                if (name, own) not in eager:
                    eager[name, own] = images.score(images.model, own)
                differences.append((images.score(model.view(name), own) - eager[name, own]) / images.tolerance)
        return min(differences)

    return Judge(sum(len(images.pictures) for images in heads.values()), 1.0, score)


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
