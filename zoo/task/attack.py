"""What an attack means for a task: which pictures are attacked, what is raised, and how the result is scored."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from zoo.data.dataset import Dataset
from zoo.task.metric import MetricResult


class AttackProtocol(ABC):
    """One evaluation under attack: `pictures` are answered clean, `attacked` ones under attack, and both are scored alike.

    Attributes:
        pictures: what is answered clean first.
    """

    pictures: Dataset

    @abstractmethod
    def attacked(self, answers: Mapping[str, Any]) -> Dataset:
        """Return what is to be attacked.

        Args:
            answers: key of each of `pictures` that could be read to the answer, as of `Answers.split`.

        Returns:
            Data whose keys decide the random starts and whose targets `loss` gets.
        """

    @abstractmethod
    def loss(self, answers: Tensor, targets: Sequence[Any]) -> Tensor:
        """Return what the attacker raises.

        Args:
            answers: of the model [B, …], with gradients.
            targets: of the attacked data, one per picture.

        Returns:
            [B], one loss per picture, which depends on no other.
        """

    @abstractmethod
    def score(self, robust: Mapping[str, Any], replicates: int) -> dict[str, MetricResult]:
        """Score the clean and the attacked answers alike.

        Args:
            robust: key of each attacked picture to the answer, as of `Answers.split`.
            replicates: bootstrap draws.

        Returns:
            "clean" and "robust".
        """
