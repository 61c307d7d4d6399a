"""What a run reads: batches to learn from, pictures or what a frozen trunk makes of them, and the data that it is scored on."""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Literal

from zoo.data.dataset import Dataset, OnError, Sample
from zoo.data.loader import training_loader
from zoo.data.plan import TrainingPlan
from zoo.evaluation.evaluate import evaluate
from zoo.images.decoding import Decoding
from zoo.images.preprocess import Preprocess
from zoo.models.model import Model
from zoo.system.hardware import Precision, in_one_thread, pick_inference_precision, pick_workers
from zoo.system.processes import Processes
from zoo.system.progress import Progress
from zoo.task.contract import Task
from zoo.task.pooling import AnyBatch
from zoo.task.recipe import Recipe
from zoo.task.scores import Scores
from zoo.training.features.batches import PooledData
from zoo.training.features.cache import FeatureCache
from zoo.training.features.file import Turns
from zoo.training.features.trunk import has_small_head, learns_from_features, pooled_data

Part = Literal["training", "validation"]


@dataclass(frozen=True)
class Reading:
    """How pictures are read.

    Attributes:
        on_error: "skip" leaves out what can't be read, and says so.
        exact: decode every picture whole.
        max_pixels: larger pictures are refused before they are decoded.
    """

    on_error: OnError
    exact: bool
    max_pixels: int


@dataclass(frozen=True)
class RunData:
    """The data of one run.

    Attributes:
        model: the one that is trained.
        task: the model's.
        dataset: what to train on, relabelled.
        validation: what to score on, relabelled; None for nothing.
        recipe: the settings.
        processes: this one and the others.
        reading: how pictures are read.
        progress: where bars and lines are drawn.
        turns: of "training" and "validation", in which features were computed that the run has begun with; as they come for those that
            aren't named. What is computed is noted here.
    """

    model: Model
    task: Task
    dataset: Dataset
    validation: Dataset | None
    recipe: Recipe
    processes: Processes
    reading: Reading
    progress: Progress
    turns: dict[str, Turns] = field(default_factory=dict)

    def batches(
        self, plan: TrainingPlan, start: int, preprocess: Preprocess, augment: Callable[[Sample], Sample], precision: Precision
    ) -> Generator[AnyBatch]:
        """Return the batches to learn from, pictures or what a frozen trunk makes of them.

        Args:
            plan: which samples make which batch.
            start: number of the first batch.
            preprocess: of training pictures.
            augment: of training pictures; not of a frozen trunk's features.
            precision: of those features.
        """
        reading = self.reading
        pooled = self.features("training", self.dataset, precision)
        if pooled is not None:
            self.progress.say("the head learns from features of pictures as they are; with --no-feature-cache, slowly, of augmented ones")
            _ = self._validation_features  # not in the middle of the first epoch
            batches = pooled.training(plan, start)
            return in_one_thread(batches) if has_small_head(self.model, self.recipe) else batches
        loader = training_loader(
            self.dataset,
            preprocess,
            plan,
            pick_workers(self.recipe.workers, len(self.dataset) * plan.epochs),
            reading.on_error,
            augment,
            start,
            Decoding(None if reading.exact else self.task.data.training_min_size_hw(self.recipe, preprocess), reading.max_pixels),
        )
        return iter(loader)

    def features(self, part: Part, dataset: Dataset, precision: Precision) -> PooledData | None:
        """Return a data set's features, where the head can learn from features that are computed once."""
        if not learns_from_features(self.model, self.recipe):
            return None
        preprocess, reading = self.model.preprocess, self.reading
        decoding = Decoding(None if reading.exact else preprocess.min_size_hw, reading.max_pixels)
        cache = FeatureCache(self.model, precision, decoding, reading.on_error, self.recipe.workers, self.progress)
        data = pooled_data(cache, dataset, self.processes, self.turns.get(part))
        self.turns[part] = data.features.turns
        return data

    @functools.cached_property
    def _validation_features(self) -> PooledData | None:
        """In the precision of an evaluation."""
        precision = pick_inference_precision("auto")
        return None if self.validation is None else self.features("validation", self.validation, precision)

    def score(self, model: Model) -> Scores:
        """Score a model, the trained one or its average, on the validation data, which there must be."""
        assert self.validation is not None
        return evaluate(
            model,
            self.validation,
            device=str(self.processes.device),
            on_error=self.reading.on_error,
            exact=self.reading.exact,
            max_pixels=self.reading.max_pixels,
            replicates=0,
            progress=self.progress,
            pooled=self._validation_features,
        )
