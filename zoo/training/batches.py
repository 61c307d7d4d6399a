"""Inputs of a training run: batches of images or cached features, and validation."""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import timm
import torch

from zoo.data.dataset import Dataset, Sample
from zoo.data.fingerprint import manifest_fingerprint
from zoo.data.loader import Reading, training_loader
from zoo.data.sampling import TrainingPlan
from zoo.evaluation.evaluate import evaluate
from zoo.images.preprocess import Preprocess
from zoo.models.model import Model
from zoo.system.hardware import in_one_thread, pick_inference_precision, pick_workers
from zoo.system.precision import Precision
from zoo.system.processes import Processes
from zoo.system.threads import THREADS
from zoo.task.contract import Task
from zoo.task.head import AnyBatch
from zoo.task.metric import Scores
from zoo.task.recipe import Recipe
from zoo.training.features.cache import FeatureCache
from zoo.training.features.trunk import PooledData, has_small_head, learns_from_features, pooled_data


@dataclass(frozen=True)
class RunData:
    """Inputs of a training run. The methods create batches and run the validation."""

    model: Model
    task: Task
    dataset: Dataset  # relabelled
    validation: Dataset | None  # relabelled, scored after every epoch
    recipe: Recipe
    processes: Processes
    reading: Reading
    alignment: Mapping[str, Any] | None = None  # JSON-serialisable description of how images were aligned before training

    def describe(self) -> dict[str, Any]:
        """Return the contents of run.json. Except for versions, threads and the place of the data, they stay the same in a resumed run."""
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
            "threads": THREADS.adapt(),
            "versions": {"torch": torch.__version__, "timm": timm.__version__},
        }

    def summary(self, history: Sequence[Mapping[str, Any]], precision: str, seconds: float) -> dict[str, Any]:
        """Return the training summary for the metadata of the saved model. `history` has one entry per epoch."""
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
        """Return the batches of the plan from batch `start` on: augmented images, or a frozen backbone's features in `precision`."""
        reading = self.reading
        pooled = self.features(self.dataset, precision)
        if pooled is not None:
            reading.progress.say(
                "the head is trained on cached features of images without augmentation; --no-feature-cache uses augmented images (slower)"
            )
            _ = self._validation_features  # compute the validation features now instead of after the first epoch
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
        """Return a dataset with its pooled features; None if the head can't be trained on cached features."""
        if not learns_from_features(self.model, self.recipe):
            return None
        reading = self.reading
        decoding = reading.decoding(self.model.preprocess.min_size_hw)
        cache = FeatureCache(self.model, precision, decoding, reading.on_error, self.recipe.workers, reading.progress)
        return pooled_data(cache, dataset, self.processes)

    @functools.cached_property
    def _validation_features(self) -> PooledData | None:
        """Features of the validation data, in the precision used for evaluation; None without validation data or cached features."""
        return None if self.validation is None else self.features(self.validation, pick_inference_precision("auto"))

    def score(self, model: Model) -> Scores:
        """Evaluate a model, such as the moving average of the trained model, on the validation data, which must not be None."""
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
