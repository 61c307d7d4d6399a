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
        image_size: height and width of the input in pixels; None for the backbone's own (224 for most, 32 for the CIFAR ResNets).
        dropout: probability with which a pooled feature is dropped in training.
        classifier: "linear" for a trained linear layer, "knn" for nearest neighbours among all training images, on a frozen backbone.
        neighbours: number of nearest neighbours that vote.
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
