"""How a task scores predictions: metric, scoring options, tolerances and attacks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from zoo.data.dataset import Dataset
from zoo.task.metric import Metric, MetricResult
from zoo.task.operating import THRESHOLDS, Decisions

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class NoScoring:
    """Empty set of scoring options, for tasks without any."""


class Scoring(ABC):
    """How a task scores predictions. Subclasses must set `primary_score` and implement `metric`.

    Attributes:
        primary_score: name of the score used to compare checkpoints (higher is better).
        options: frozen dataclass of scoring options, with defaults. It validates its values, and each field becomes a flag.
        score_names: names of the scores of the metric, or patterns of names such as "AR*"; () if they depend on the data.
        tolerance: maximum allowed difference in primary score between a compiled model and the original, by precision.
        attacks: names of the attacks that `attack_protocol` supports (see `zoo.evaluation.robustness.attacks.Attack`).
    """

    primary_score: ClassVar[str]
    options: ClassVar[type[Any]] = NoScoring
    score_names: ClassVar[tuple[str, ...]] = ()
    tolerance: ClassVar[Mapping[str, float]] = {"fp32": 0.003, "bf16": 0.003, "fp16": 0.003, "int8": 0.005}
    attacks: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def metric(self, dataset: Dataset, classes: tuple[str, ...], **options: Any) -> Metric:
        """Create a metric.

        Args:
            dataset: the relabelled dataset to score. A dataset may define its own evaluation protocol.
            classes: class names by index.
            **options: scoring options, one for each field of the dataclass `options`.
        """

    def settle(self, options: dict[str, Any], metadata: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Fill in the defaults of scoring options that depend on the models. By default, return the options unchanged.

        Args:
            options: scoring options, one for each field of the dataclass `options`.
            metadata: metadata of each model; empty for predictions from a file.
        """
        return options

    def decisions(
        self, metric: Any, classes: tuple[str, ...], options: Mapping[str, Any], positive: str | None
    ) -> Mapping[str, Decisions] | None:
        """Return the decisions that depend on thresholds, by class or use; None, the default, if the task has no operating point.

        Args:
            metric: a metric from `metric`, to which all predictions were added.
            classes: class names by index.
            options: build options of the model.
            positive: class whose threshold decides, for models with two exclusive classes; None for the default.

        Raises:
            InputError: the model or the data has no decisions that depend on a threshold.
        """
        return None

    def operating_metadata(self, thresholds: Mapping[str, float], classes: tuple[str, ...]) -> dict[str, Any]:
        """Return the metadata entries for the thresholds chosen by `zoo.tune`, by class or use. By default, the entry "thresholds"."""
        return {THRESHOLDS: dict(thresholds)}

    def attack_protocol(self, dataset: Dataset, classes: tuple[str, ...], pairs: int, seed: int, **options: Any) -> AttackProtocol | None:
        """Return the protocol for an evaluation under attack; None if the task doesn't support attacks.

        Args:
            dataset: the relabelled dataset.
            classes: class names by index.
            pairs: maximum number of pairs of each kind (same and different identity), for tasks that score pairs.
            seed: random seed for choosing the pairs.
            **options: scoring options, one for each field of the dataclass `options`.

        Raises:
            InputError: the dataset contains nothing that can be attacked.
        """
        return None


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
            robust: predictions on the attacked images, by key, in the format of `Answers.split`.
            replicates: number of bootstrap replicates.

        Returns:
            The metric's results under the keys "clean" and "robust".
        """
