"""Models that are evaluated together, and their description in a result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from zoo.errors import InputError
from zoo.models.fingerprint import model_fingerprint
from zoo.models.model import Model
from zoo.system.hardware import pick_inference_precision, place
from zoo.system.precision import Precision
from zoo.task.contract import Task, get_task


@dataclass(frozen=True)
class ModelGroup:
    """One model, or several of one task.

    Attributes:
        models: the models, in the order in which they were passed.
    """

    models: tuple[Model, ...]

    @classmethod
    def of(cls, models: Model | Sequence[Model]) -> ModelGroup:
        """Group models.

        Raises:
            InputError: no model, or models of several tasks.
        """
        chosen = (models,) if isinstance(models, Model) else tuple(models)
        if not chosen:
            raise InputError("nothing to evaluate: pass at least one model")
        tasks = sorted({model.task for model in chosen})
        if len(tasks) > 1:
            raise InputError(f"ensemble: the models are of several tasks: {', '.join(tasks)}; expected one")
        return cls(chosen)

    @property
    def task(self) -> Task:
        """The task of all models."""
        return get_task(self.models[0].task)

    @property
    def metadata(self) -> list[dict[str, Any]]:
        """Metadata of each model."""
        return [model.metadata for model in self.models]

    def by_name(self, values: Sequence[Any]) -> dict[str, Any]:
        """Return the values by model name as used in results: "model" for a single model, otherwise "model 1", "model 2", …."""
        return {"model": values[0]} if len(values) == 1 else {f"model {number}": value for number, value in enumerate(values, start=1)}

    def preprocess(self) -> dict[str, Any]:
        """Return the preprocessing; for several models, by name."""
        found = [model.preprocess.to_dict() for model in self.models]
        return found[0] if len(found) == 1 else self.by_name(found)

    def fingerprints(self) -> dict[str, str]:
        """Return the fingerprint of every model, by name."""
        return self.by_name([model_fingerprint(model) for model in self.models])

    def engines(self) -> dict[str, Any]:
        """Return the details of the engines for a result; empty if no model is compiled."""
        engines = [model.engine_details() for model in self.models]
        return {"engine": engines[0] if len(engines) == 1 else self.by_name(engines)} if any(engines) else {}

    def precision(self, asked: Precision) -> Precision:
        """Return the precision at which models that aren't compiled run.

        Args:
            asked: requested precision.

        Raises:
            InputError: a model is compiled for another precision than `asked`.
        """
        chosen, *_ = [pick_inference_precision(asked, model.precision) for model in self.models]
        return chosen

    def reported_precision(self, precision: Precision) -> str:
        """Return the precision to report in a result, given the precision of models that aren't compiled."""
        return ", ".join(dict.fromkeys(model.precision or precision for model in self.models))

    def place(self, device: torch.device) -> None:
        """Move the models to a device."""
        for model in self.models:
            place(model, device)
