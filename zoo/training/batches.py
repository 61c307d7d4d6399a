"""Inputs of a training run: batches of images or of cached features, and the validation data."""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import timm
import torch

from zoo.data.dataset import Dataset, Sample
from zoo.data.fingerprint import manifest_fingerprint
from zoo.data.loader import training_loader
from zoo.data.plan import TrainingPlan
from zoo.data.read_settings import Reading
from zoo.evaluation.evaluate import evaluate
from zoo.images.preprocess import Preprocess
from zoo.models.model import Model
from zoo.system.hardware import in_one_thread, pick_inference_precision, pick_workers
from zoo.system.precision import Precision
from zoo.system.processes import Processes
from zoo.task.contract import Task
from zoo.task.pooling import AnyBatch
from zoo.task.recipe import Recipe
from zoo.task.scores import Scores
from zoo.training.features.batches import PooledData
from zoo.training.features.cache import FeatureCache
from zoo.training.features.trunk import has_small_head, learns_from_features, pooled_data


@dataclass(frozen=True)
class RunData:
    """Inputs of a training run, and the batches made from them.

    Attributes:
        dataset: the relabelled training data.
        validation: the relabelled validation data, scored after every epoch; None for none.
        reading: how images are read; its progress display receives bars and messages.
        alignment: how images were aligned beforehand, JSON-ready; None where they were not.
    """

    model: Model
    task: Task
    dataset: Dataset
    validation: Dataset | None
    recipe: Recipe
    processes: Processes
    reading: Reading
    alignment: Mapping[str, Any] | None = None

    def describe(self) -> dict[str, Any]:
        """Return the contents of run.json, before training: everything that a resumed run must have in common with the one it continues."""
        return {
            "model": self.model.config.to_dict(),
            "data": self.dataset.name,
            "samples": len(self.dataset),
            "manifest": manifest_fingerprint(self.dataset),
            "val": self.validation.name if self.validation is not None else None,
            "val_manifest": manifest_fingerprint(self.validation) if self.validation is not None else None,
            "exact": self.reading.exact,
            "alignment": self.alignment,
            "processes": self.processes.count,
            "versions": {"torch": torch.__version__, "timm": timm.__version__},
        }

    def summary(self, history: Sequence[Mapping[str, Any]], precision: str, seconds: float) -> dict[str, Any]:
        """Return the training summary in a saved model's metadata; the history has one entry per epoch."""
        last = {name: value for name, value in (history[-1] if history else {}).items() if name != "curve"}
        return {
            "data": self.dataset.name,
            "samples": len(self.dataset),
            "recipe": asdict(self.recipe),
            "precision": precision,
            **({} if self.alignment is None else {"alignment": self.alignment}),
            "seconds": round(seconds, 3),
            **last,
        }

    def batches(
        self, plan: TrainingPlan, start: int, preprocess: Preprocess, augment: Callable[[Sample], Sample], precision: Precision
    ) -> Generator[AnyBatch]:
        """Return the batches of the plan from number `start` on: augmented images, or features of a frozen backbone in a precision."""
        reading = self.reading
        pooled = self.features(self.dataset, precision)
        if pooled is not None:
            reading.progress.say(
                "the head is trained on cached features of images without augmentation; --no-feature-cache uses augmented images, slowly"
            )
            _ = self._validation_features  # computed now rather than after the first epoch
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
            reading.decoding(self.task.data.training_min_size_hw(self.recipe, preprocess)),
        )
        return iter(loader)

    def features(self, dataset: Dataset, precision: Precision) -> PooledData | None:
        """Return the features of a dataset; None if the head can't be trained on cached features."""
        if not learns_from_features(self.model, self.recipe):
            return None
        reading = self.reading
        decoding = reading.decoding(self.model.preprocess.min_size_hw)
        cache = FeatureCache(self.model, precision, decoding, reading.on_error, self.recipe.workers, reading.progress)
        return pooled_data(cache, dataset, self.processes)

    @functools.cached_property
    def _validation_features(self) -> PooledData | None:
        """Features of the validation data, in the precision of evaluation; None if not applicable."""
        return None if self.validation is None else self.features(self.validation, pick_inference_precision("auto"))

    def score(self, model: Model) -> Scores:
        """Evaluate the trained model, or the moving average of its weights, on the validation data, which must not be None."""
        assert self.validation is not None
        return evaluate(
            model,
            self.validation,
            device=str(self.processes.device),
            on_error=self.reading.on_error,
            exact=self.reading.exact,
            max_pixels=self.reading.max_pixels,
            replicates=0,
            progress=self.reading.progress,
            pooled=self._validation_features,
        )
