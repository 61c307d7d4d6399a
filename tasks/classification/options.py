"""Build options of classification."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from zoo.errors import UnknownNameError, check_positive

Classifier = Literal["linear", "knn"]


@dataclass(frozen=True)
class ClassificationOptions:
    """Options of `zoo.build(…, task="classification")`.

    Attributes:
        image_size: height and width of the input in pixels; by default that of the backbone (32 for CIFAR ResNets, 224 for most others).
        dropout: dropout rate of the pooled features in training, in [0, 1).
        classifier: "linear" for a trained linear layer, or "knn" for a vote of the nearest training images; the backbone is then frozen.
        neighbours: number of nearest neighbours that vote in the classifier "knn".
    """

    image_size: int | None = None
    dropout: float = 0.0
    classifier: Classifier = "linear"
    neighbours: int = 20

    def __post_init__(self) -> None:
        if self.image_size is not None:
            check_positive("classification", image_size=self.image_size)
        check_positive("classification", neighbours=self.neighbours)
        if self.classifier not in get_args(Classifier):
            raise UnknownNameError("classifier", self.classifier, get_args(Classifier))
