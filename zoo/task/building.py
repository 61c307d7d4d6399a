"""How a task's models are built (options, preprocessing, head), and the interface of the finished models."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from zoo.backbones import Backbone
from zoo.images.preprocess import Preprocess
from zoo.task.head import Head, HeadSpec

if TYPE_CHECKING:
    import torch

    from zoo.task.metric import Scores


@dataclass(frozen=True)
class NoOptions:
    """Empty set of build options, for tasks without any."""


class Building(ABC):
    """How a task's models are built. Subclasses must implement `head`; everything else is optional.

    Attributes:
        options: frozen dataclass of the build options, with defaults. Each field becomes a keyword of `zoo.build` and a flag.
        min_levels: minimum number of feature levels that a backbone must provide.
    """

    options: ClassVar[type[Any]] = NoOptions
    min_levels: ClassVar[int] = 1

    @abstractmethod
    def head(self, spec: HeadSpec) -> Head:
        """Create a head with newly initialised parameters."""

    def preprocess(self, native: Preprocess, options: Any) -> Preprocess:
        """Return the preprocessing of a model. By default, it is that of the backbone.

        Args:
            native: the backbone's preprocessing, designed for classification.
            options: the model's build options.
        """
        return native

    def accepts_any_size(self, options: Any) -> bool:
        """Return whether the head can use the preprocessing of another head of its model, so that both share the backbone's features.

        False by default.
        """
        return False

    def default_classes(self) -> tuple[str, ...]:
        """Return the class names of a model that is built without specifying classes. Empty by default."""
        return ()

    def settle(self, options: Any) -> Any:
        """Fill in defaults that depend on other options, so that a saved model stores every value. By default, return them unchanged."""
        return options

    def bound_options(self, made_with: Mapping[str, Any]) -> Sequence[str]:
        """Return the names of options that are fixed once weights have been trained with the options `made_with`. Empty by default."""
        return ()

    def layer_options(self) -> Sequence[str]:
        """Return the names of options that decide which layers the head has, or what they predict. `zoo.load` accepts no other values.

        Empty by default.
        """
        return ()

    def metadata(self, options: Any) -> dict[str, Any]:
        """Return JSON-serialisable values needed to interpret a model's outputs (for faces: distance and threshold). Empty by default."""
        return {}

    def identity(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options that affect a model's outputs in addition to its weights and preprocessing. Empty by default.

        They are part of the model fingerprint stored with a gallery. Options with default values are omitted.
        """
        return {}

    def trained_metadata(self, scores: Scores) -> dict[str, Any]:
        """Return metadata derived from the validation scores of a trained model (for faces: the best threshold). Empty by default."""
        return {}


class TaskModel(Protocol):
    """The interface of a model that tasks use; `zoo.Model` implements it.

    Attributes:
        metadata: values needed to interpret the model's outputs, such as distance and threshold for embeddings.
    """

    metadata: dict[str, Any]

    @property
    def preprocess(self) -> Preprocess:
        """The model's preprocessing."""

    @property
    def config(self) -> Any:
        """The configuration; `config.options` maps the task's option names to values."""

    @property
    def backbone(self) -> Backbone:
        """The backbone."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names by index."""

    @property
    def device(self) -> torch.device:
        """Device of the parameters."""

    def __call__(self, images: Any, targets: Any = None) -> Any:
        """Return the outputs for a batch of images, or losses by name if targets are passed."""
