"""Protocol for adversarial attacks on a task: choice of images, the attacker's loss, and scoring."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from zoo.data.dataset import Dataset
from zoo.task.metric import MetricResult


class AttackProtocol(ABC):
    """Protocol for one evaluation under attack.

    The model first predicts on the clean `pictures`. Then the images returned by `attacked` are attacked, and the model predicts on the
    results. Both sets of predictions are scored in the same way.

    Attributes:
        pictures: dataset for the evaluation without an attack.
    """

    pictures: Dataset

    @abstractmethod
    def attacked(self, answers: Mapping[str, Any]) -> Dataset:
        """Return the dataset to attack.

        Args:
            answers: predictions on the clean images by key, in the format of `Answers.split`, for all `pictures` that could be read.

        Returns:
            The dataset to attack. Its keys seed the random starting points, and its targets are passed to `loss`.
        """

    @abstractmethod
    def loss(self, answers: Tensor, targets: Sequence[Any]) -> Tensor:
        """Return the loss that the attacker maximises.

        Args:
            answers: model outputs [B, …], with gradients.
            targets: targets of the attacked dataset, one per image.

        Returns:
            One loss per image [B]. It must not depend on the other images of the batch.
        """

    @abstractmethod
    def score(self, robust: Mapping[str, Any], replicates: int) -> dict[str, MetricResult]:
        """Score the predictions on clean and on attacked images.

        Args:
            robust: predictions under attack by key, in the format of `Answers.split`.
            replicates: number of bootstrap replicates.

        Returns:
            The metric's results under the keys "clean" and "robust".
        """
