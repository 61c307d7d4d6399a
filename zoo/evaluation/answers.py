"""Run a model over a dataset and yield its predictions batch by batch."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import torch

from zoo.data.dataset import Dataset
from zoo.data.loader import Batch, Batches, Reading, pick_batch_size
from zoo.errors import Fault
from zoo.models.inference import answers, evaluation_mode
from zoo.models.model import Model
from zoo.system.hardware import autocast, pick_workers
from zoo.task.head import FeatureBatches, FeatureSource


@dataclass(frozen=True)
class Answered:
    """A batch with its predictions: one target and one prediction for each key of an image that could be read."""

    keys: tuple[str, ...]
    targets: tuple[Any, ...]
    answers: list[Any]  # in the format of `Answers.split`; `Ensemble.answer` yields a list of these, one per model, for each key
    skipped: tuple[Fault, ...]  # errors of the images that could not be read


def answered(model: Model, dataset: Dataset, reading: Reading, features: FeatureSource | None = None) -> Iterator[Answered]:
    """Run a model on this process's subset of a dataset and yield its predictions batch by batch.

    The model's training or evaluation mode is restored at the end.

    Args:
        model: the model, on its device.
        dataset: the relabelled dataset.
        reading: how images are read.
        features: pooled features of the dataset, computed by the model's backbone. If passed, they are used instead of the images.
    """
    size = pick_batch_size(reading.batch_size, model.preprocess, model.device)
    loader: FeatureBatches | Batches
    if features is not None:
        loader = features.evaluation(size, reading.rank, reading.processes)
    else:
        loader = reading.loader(dataset, model.preprocess, size, pick_workers(reading.workers, len(dataset)))
    batches: Generator[Batch[Any]] = iter(loader)
    with evaluation_mode(model), torch.inference_mode(), autocast(reading.precision, model.device), closing(batches):
        for batch in reading.progress.track(batches, "evaluating", len(loader)):
            found = [] if batch.images is None else answers(model, batch.images)
            yield Answered(batch.keys, batch.targets, found, batch.skipped)
