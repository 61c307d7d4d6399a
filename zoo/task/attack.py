"""A task's protocol for adversarial attacks: which images are attacked, the attacker's loss, and how the result is scored."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from zoo.data.dataset import Dataset
from zoo.task.metric import MetricResult


class AttackProtocol(ABC):
    """Protocol of one evaluation under attack.

    The model first answers for the clean `pictures`, then for the `attacked` ones under attack; both are scored the same way.

    Attributes:
        pictures: data that is evaluated without an attack first.
    """

    pictures: Dataset

    @abstractmethod
    def attacked(self, answers: Mapping[str, Any]) -> Dataset:
        """Return the data to attack.

        Args:
            answers: clean answers by key, as returned by `Answers.split`, for all `pictures` that could be read.

        Returns:
            Data whose keys seed the random starts and whose targets are passed to `loss`.
        """

    @abstractmethod
    def loss(self, answers: Tensor, targets: Sequence[Any]) -> Tensor:
        """Return the loss that the attacker maximises.

        Args:
            answers: the model's answers [B, …], with gradients.
            targets: targets of the attacked data, one per image.

        Returns:
            [B], one loss per image, independent of the other images.
        """

    @abstractmethod
    def score(self, robust: Mapping[str, Any], replicates: int) -> dict[str, MetricResult]:
        """Score the clean and the attacked answers in the same way.

        Args:
            robust: answers under attack by key, as returned by `Answers.split`.
            replicates: number of bootstrap replicates.

        Returns:
            The results "clean" and "robust".
        """
