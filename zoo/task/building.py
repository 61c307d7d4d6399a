"""How a task's models are built: options, preprocessing and head."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from zoo.images.preprocess import Preprocess
from zoo.task.head import Head, HeadSpec

if TYPE_CHECKING:
    from zoo.task.scores import Scores


@dataclass(frozen=True)
class NoOptions:
    """Build options of a task that has none."""


class Building(ABC):
    """What a task adds to a backbone. Only `head` must be implemented.

    Attributes:
        options: frozen dataclass of the build options, with defaults; every field is a keyword of `zoo.build` and a flag.
        min_levels: number of feature levels that a backbone must have.
    """

    options: ClassVar[type[Any]] = NoOptions
    min_levels: ClassVar[int] = 1

    @abstractmethod
    def head(self, spec: HeadSpec) -> Head:
        """Create the head with fresh parameters."""

    def preprocess(self, native: Preprocess, options: Any) -> Preprocess:
        """Return the preprocessing of a model.

        Args:
            native: the backbone's own preprocessing, made for classification.
            options: the model's options.

        Returns:
            By default `native`.
        """
        return native

    def default_classes(self) -> tuple[str, ...]:
        """Return the classes of a model that is built without any; by default none."""
        return ()

    def settle(self, options: Any) -> Any:
        """Return the options with the defaults filled in that depend on other options, so that a saved model records every value."""
        return options

    def bound_options(self, made_with: Mapping[str, Any]) -> Sequence[str]:
        """Return the names of options that can't be changed once weights have been trained with the options `made_with`."""
        return ()

    def metadata(self, options: Any) -> dict[str, Any]:
        """Return what users of a model's answers need, JSON-ready (for faces: distance and threshold)."""
        return {}

    def identity(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options, besides weights and preprocessing, that a model's answers depend on; by default none.

        They are part of the fingerprint by which a gallery recognises its model, so options at their default are omitted.
        """
        return {}

    def trained_metadata(self, scores: Scores) -> dict[str, Any]:
        """Return the metadata derived from the validation scores of a trained model (for faces: the best threshold)."""
        return {}
