"""Inputs of a training run: batches of images or cached features, and validation."""

from __future__ import annotations

import functools
from collections.abc import Generator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import timm
import torch

from zoo.data.dataset import Dataset
from zoo.data.fingerprint import manifest_fingerprint
from zoo.data.loader import Reading
from zoo.evaluation.evaluate import evaluate
from zoo.models.model import Model
from zoo.system.hardware import in_one_thread, pick_inference_precision, pick_workers
from zoo.system.precision import Precision
from zoo.system.processes import Processes
from zoo.system.threads import THREADS
from zoo.task.head import AnyBatch
from zoo.task.joint import JointRecipe
from zoo.task.metric import Scores
from zoo.task.operating import OPERATING_POINT, THRESHOLDS
from zoo.task.recipe import RunRecipe
from zoo.training.features.cache import FeatureCache
from zoo.training.features.trunk import PooledData, has_small_heads, learns_from_features, pooled_batches, pooled_data
from zoo.training.history import best_epoch
from zoo.training.mixing import MixedPlan, TrainingSource, batch_counts, mixed_loader
from zoo.training.streams import HeadData, Stream


@dataclass(frozen=True)
class RunData:
    """Inputs of a training run. The methods create batches and run the validation."""

    model: Model
    streams: tuple[Stream, ...]
    recipe: RunRecipe
    processes: Processes
    reading: Reading
    alignment: Mapping[str, Any] | None = None  # JSON-serialisable description of how images were aligned before training
    counts: tuple[int, ...] | None = None  # number of batches of each stream per epoch; None for those of the recipe's mixture

    @functools.cached_property
    def heads(self) -> tuple[HeadData, ...]:
        """The trained heads."""
        return tuple(head for stream in self.streams for head in stream.heads)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the trained heads in the model."""
        return tuple(head.name for head in self.heads) if self.model.is_joint else tuple(self.model.config.heads)

    @property
    def validated(self) -> tuple[HeadData, ...]:
        """The heads with validation data."""
        return tuple(head for head in self.heads if head.validation is not None)

    @property
    def primary_scores(self) -> tuple[str, ...]:
        """Names of the validation scores by which epochs are compared, as in metrics.jsonl."""
        return tuple(self._named(head, head.task.scoring.primary_score) for head in self.validated)

    def _named(self, head: HeadData, score: str) -> str:
        return f"{head.name}/{score}" if self.model.is_joint else score

    def _by_data(self, what: Mapping[str, Any]) -> Any:
        """Return a value by the names of the heads that a dataset labels; with one head, the value itself."""
        return what if self.model.is_joint else next(iter(what.values()), None)

    def describe(self) -> dict[str, Any]:
        """Return the contents of run.json. Except for versions, threads and the path of the data, they stay the same in a resumed run."""
        val = self._validation
        model = {name: value for name, value in self.model.config.to_dict().items() if name != "licences"}  # follow from the weights
        return {
            "model": model,
            **self._samples(),
            "manifest": self._manifests,
            "val": self._by_data({name: data.name for name, data in val.items()}) or None,
            "val_manifest": self._val_manifests,
            "exact": self.reading.exact,
            "alignment": self.alignment,
            "processes": self.processes.count,
            "threads": THREADS.adapt(),
            "versions": {"torch": torch.__version__, "timm": timm.__version__},
        }

    def _samples(self) -> dict[str, Any]:
        """Return the name and size of the training data."""
        sets = {",".join(head.name for head in stream.heads): stream.dataset for stream in self.streams}
        return {
            "data": self._by_data({name: dataset.name for name, dataset in sets.items()}),
            "samples": self._by_data({name: len(dataset) for name, dataset in sets.items()}),
        }

    @functools.cached_property
    def _validation(self) -> dict[str, Dataset]:
        return {head.name: head.validation for head in self.validated if head.validation is not None}

    @functools.cached_property
    def _manifests(self) -> Any:
        return self._by_data({head.name: manifest_fingerprint(head.dataset) for head in self.heads})

    @functools.cached_property
    def _val_manifests(self) -> Any:
        return self._by_data({name: manifest_fingerprint(data) for name, data in self._validation.items()}) or None

    def summary(self, history: Sequence[Mapping[str, Any]], precision: str, seconds: float) -> dict[str, Any]:
        """Return the training summary for the metadata of the saved model.

        The scores in the entry "val" are those of the saved weights, which are those of the epoch "best_epoch".

        Args:
            history: one entry per epoch.
            precision: numeric precision of the run.
            seconds: duration of the run.
        """
        last = {name: value for name, value in (history[-1] if history else {}).items() if name != "curve"}
        if (best := best_epoch(history, self.primary_scores)) is not None:
            last |= {"val": best["val"], "best_epoch": best["epoch"]}
        val = self._validation
        return {
            **self._samples(),
            "manifest": self._manifests,
            "val_data": self._by_data({name: data.name for name, data in val.items()}) or None,
            "val_samples": self._by_data({name: len(data) for name, data in val.items()}) or None,
            "val_manifest": self._val_manifests,
            "recipe": self.recipe.settings() if isinstance(self.recipe, JointRecipe) else asdict(self.recipe),
            "precision": precision,
            **({} if self.alignment is None else {"alignment": self.alignment}),
            "seconds": round(seconds, 3),
            **last,
        }

    def reset_metadata(self, model: Model) -> None:
        """Reset the metadata of the trained heads, such as thresholds, which are no longer valid when their parameters change."""
        for name, head in zip(self.names, self.heads, strict=True):
            options = head.task.parse_options(model.config.heads[name].options)
            metadata = model.head_metadata(name)
            for entry in (THRESHOLDS, OPERATING_POINT):
                metadata.pop(entry, None)
            metadata.update(head.task.building.metadata(options))

    def store_metadata(self, scores: Mapping[str, Scores] | None, summary: Mapping[str, Any]) -> None:
        """Store the summary of the run, and what the validation scores determine, in the model's metadata."""
        for name, head in zip(self.names, self.heads, strict=True):
            if scores is not None and head.name in scores:
                self.model.head_metadata(name).update(head.task.building.trained_metadata(scores[head.name]))
        start = self.model.metadata.pop("hub", None)  # the parameters are no longer those of the commit
        self.model.metadata["training"] = {**summary, **({} if start is None else {"hub": start})}

    # -- batches ----------------------------------------------------------------------------------------------------------

    def plan(self, epochs: int) -> MixedPlan:
        """Return which samples the batches of the run contain."""
        smallest = 2 * self.processes.count  # batch-norm needs at least two images in training mode
        samplings = [stream.sampling(self.processes.count, smallest) for stream in self.streams]
        temperature = self.recipe.temperature if isinstance(self.recipe, JointRecipe) else 1.0
        counts = self.counts or batch_counts([len(sampling) for sampling in samplings], temperature)
        return MixedPlan.of(samplings, counts, epochs, self.recipe.seed, self.processes.rank, self.processes.count)

    def sources(self) -> list[TrainingSource]:
        """Return the dataset of each stream with its augmentation and preprocessing."""
        return [stream.source(self.reading) for stream in self.streams]

    @property
    def learns_from_features(self) -> bool:
        """Whether the heads are trained on cached features."""
        return learns_from_features(self.model, self.recipe, self.names)

    @property
    def has_small_heads(self) -> bool:
        """Whether training steps of the heads are so small that neither a second thread nor 16-bit precision makes them faster."""
        return has_small_heads(self.model, self.names, max(stream.lead.recipe.batch_size for stream in self.streams))

    def batches(self, plan: MixedPlan, start: int, sources: Sequence[TrainingSource], precision: Precision) -> Generator[AnyBatch]:
        """Return the batches of the plan from batch `start` on: augmented images, or a frozen backbone's features in `precision`."""
        reading = self.reading
        if self.learns_from_features:
            pooled = [self.features(stream.dataset, precision) for stream in self.streams]
            what = "the heads are" if len(self.heads) > 1 else "the head is"
            reading.progress.say(
                f"{what} trained on cached features of images without augmentation; --no-feature-cache uses augmented images (slower)"
            )
            _ = self._validation_features  # compute the validation features now instead of after the first epoch
            batches = pooled_batches(pooled, plan, start)
            return in_one_thread(batches) if self.has_small_heads else batches
        samples = sum(len(stream.dataset) for stream in self.streams)
        return iter(mixed_loader(sources, plan, pick_workers(self.recipe.workers, samples * plan.epochs), reading.on_error, start))

    def features(self, dataset: Dataset, precision: Precision) -> PooledData:
        """Return a dataset with its pooled features, which suffice to train the heads."""
        reading, view = self.reading, self.model.view(self.names[0])
        decoding = reading.decoding(view.preprocess.min_size_hw)
        cache = FeatureCache(view, precision, decoding, reading.on_error, self.recipe.workers, reading.progress)
        return pooled_data(cache, dataset, self.processes)

    # -- validation -------------------------------------------------------------------------------------------------------

    @functools.cached_property
    def _validation_features(self) -> dict[str, PooledData]:
        """Features of the validation data by head name, in the precision used for evaluation; empty without cached features."""
        if not self.learns_from_features:
            return {}
        precision = pick_inference_precision("auto")
        return {head.name: self.features(head.validation, precision) for head in self.validated if head.validation is not None}

    def score(self, model: Model, replicates: int = 0) -> dict[str, Scores]:
        """Evaluate a model, such as the moving average of the trained model, on the validation data of each head that has any.

        `replicates` is the number of bootstrap replicates for the confidence intervals.
        """
        return {
            head.name: evaluate(
                model.view(head.name) if model.is_joint else model,
                head.validation,
                device=str(self.processes.device),
                on_error=self.reading.on_error,
                exact=self.reading.exact,
                max_pixels=self.reading.max_pixels,
                replicates=replicates,
                progress=self.reading.progress,
                pooled=self._validation_features.get(head.name),
            )
            for head in self.validated
        }

    def entries(self, scores: Mapping[str, Scores]) -> dict[str, float | None]:
        """Return the validation scores of all heads by their names in metrics.jsonl: `head/score` for several heads."""
        return {self._named(head, name): value for head in self.validated for name, value in scores[head.name].items()}
