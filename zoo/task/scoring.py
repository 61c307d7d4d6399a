"""How a task's answers are scored: metric, scoring options, tolerances and attacks."""

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
    """Scoring options of a task that has none."""


class Scoring(ABC):
    """The scores of a task. `primary_score` must be set and `metric` implemented.

    Attributes:
        primary_score: name of the score by which checkpoints are compared (higher is better).
        options: frozen dataclass of scoring options, with defaults; it validates its values, and every field is a flag.
        tolerance: largest allowed difference of the primary score between a compiled model and the original, by precision.
        attacks: names of the attacks (`zoo.evaluation.robustness.attacks.Attack`) that `attack_protocol` supports.
    """

    primary_score: ClassVar[str]
    options: ClassVar[type[Any]] = NoScoring
    tolerance: ClassVar[Mapping[str, float]] = {"fp32": 0.003, "bf16": 0.003, "int8": 0.005}
    attacks: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def metric(self, dataset: Dataset, classes: tuple[str, ...], **options: Any) -> Metric:
        """Return a fresh metric.

        Args:
            dataset: the relabelled data that will be scored; it may define its own protocol.
            classes: class names by index.
            options: every field of `options`.
        """

    def settle(self, options: dict[str, Any], metadata: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return the scoring options with the defaults filled in that depend on the models; by default unchanged.

        Args:
            options: every field of `options`.
            metadata: metadata of each model; empty for answers from a file.
        """
        return options

    def attack_protocol(self, dataset: Dataset, classes: tuple[str, ...], pairs: int, seed: int, **options: Any) -> AttackProtocol | None:
        """Return which images are attacked, the attacker's loss and how the result is scored; None where the task has no attacks.

        Args:
            dataset: the relabelled data.
            classes: class names by index.
            pairs: maximum number of pairs of each kind, for tasks that score pairs.
            seed: random seed for the choice of pairs.
            options: every field of `options`.

        Raises:
            InputError: the data contains nothing that can be attacked.
        """
        return None
