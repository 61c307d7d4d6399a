"""How a task scores predictions: metric, scoring options, tolerances and attacks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from zoo.data.dataset import Dataset
from zoo.task.metric import Metric

if TYPE_CHECKING:
    from zoo.task.attack import AttackProtocol


@dataclass(frozen=True)
class NoScoring:
    """Empty set of scoring options, for tasks without any."""


class Scoring(ABC):
    """How a task scores predictions. Subclasses must set `primary_score` and implement `metric`.

    Attributes:
        primary_score: name of the score used to compare checkpoints (higher is better).
        options: frozen dataclass of scoring options, with defaults. It validates its values, and each field becomes a flag.
        tolerance: maximum allowed difference in primary score between a compiled model and the original, by precision.
        attacks: names of the attacks that `attack_protocol` supports (see `zoo.evaluation.robustness.attacks.Attack`).
    """

    primary_score: ClassVar[str]
    options: ClassVar[type[Any]] = NoScoring
    tolerance: ClassVar[Mapping[str, float]] = {"fp32": 0.003, "bf16": 0.003, "int8": 0.005}
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
