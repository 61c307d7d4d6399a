"""Robustness evaluation of classifiers with adversarial images that raise the loss of the right class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.data.dataset import Dataset
from zoo.task.attack import AttackProtocol
from zoo.task.metric import Metric, MetricResult


class ClassAttack(AttackProtocol):
    """Attack protocol that maximises the cross-entropy of the right class and computes the usual classification scores."""

    def __init__(self, dataset: Dataset, clean: Metric, robust: Metric) -> None:
        self.pictures = dataset
        self._metrics = {"clean": clean, "robust": robust}
        self._clean: Mapping[str, Any] = {}

    def attacked(self, answers: Mapping[str, Any]) -> Dataset:
        """Return the dataset without the images that couldn't be read. `answers` are the predictions for the clean images."""
        self._clean = answers
        return replace(self.pictures, records=tuple(record for record in self.pictures.records if record.key in answers))

    def loss(self, answers: Tensor, targets: Sequence[Any]) -> Tensor:
        """Return the cross-entropy of each image, [B], given logits [B, K] and class indices [B]."""
        return F.cross_entropy(answers, torch.tensor(targets, dtype=torch.int64, device=answers.device), reduction="none")

    def score(self, robust: Mapping[str, Any], replicates: int) -> dict[str, MetricResult]:
        """Score the logits of clean and of attacked images with the classification metric, by "clean" and "robust"."""
        records = [record for record in self.pictures.records if record.key in robust]
        keys, targets = [record.key for record in records], [record.target for record in records]
        for metric, answers in zip(self._metrics.values(), (self._clean, robust), strict=True):
            metric.update([answers[key] for key in keys], targets, keys)
        return {name: metric.compute(replicates) for name, metric in self._metrics.items()}
