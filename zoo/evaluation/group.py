"""Models that are evaluated together, and their description for evaluation results."""

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
    """One or more models of the same task.

    Attributes:
        models: the models, in the order of the arguments.
    """

    models: tuple[Model, ...]

    @classmethod
    def of(cls, models: Model | Sequence[Model]) -> ModelGroup:
        """Create a group of models.

        Raises:
            InputError: no model is passed, or the models have different tasks.
        """
        chosen = (models,) if isinstance(models, Model) else tuple(models)
        if not chosen:
            raise InputError("nothing to evaluate: pass at least one model")
        tasks = sorted({model.task for model in chosen})
        if len(tasks) > 1:
            raise InputError(f"ensemble: the models have different tasks ({', '.join(tasks)}); expected models of the same task")
        return cls(chosen)

    @property
    def task(self) -> Task:
        """The task of the models."""
        return get_task(self.models[0].task)

    @property
    def metadata(self) -> list[dict[str, Any]]:
        """Metadata of each model."""
        return [model.metadata for model in self.models]

    def by_name(self, values: Sequence[Any]) -> dict[str, Any]:
        """Return a dict from model names to values. A single model is called "model"; several are called "model 1", "model 2" and so on."""
        return {"model": values[0]} if len(values) == 1 else {f"model {number}": value for number, value in enumerate(values, start=1)}

    def preprocess(self) -> dict[str, Any]:
        """Return the preprocessing of a single model, or a dict of preprocessings by model name for several."""
        found = [model.preprocess.to_dict() for model in self.models]
        return found[0] if len(found) == 1 else self.by_name(found)

    def fingerprints(self) -> dict[str, str]:
        """Return the fingerprint of each model by model name."""
        return self.by_name([model_fingerprint(model) for model in self.models])

    def engines(self) -> dict[str, Any]:
        """Return details of the engines for the evaluation result; empty if no model is compiled."""
        engines = [model.engine_details() for model in self.models]
        return {"engine": engines[0] if len(engines) == 1 else self.by_name(engines)} if any(engines) else {}

    def precision(self, asked: Precision) -> Precision:
        """Return the precision for running the models that aren't compiled.

        Args:
            asked: requested precision.

        Raises:
            InputError: a model is compiled for a precision other than `asked`.
        """
        chosen, *_ = [pick_inference_precision(asked, model.precision) for model in self.models]
        return chosen

    def reported_precision(self, precision: Precision) -> str:
        """Return the precision of all models for the evaluation result. `precision` is that of models that aren't compiled."""
        return ", ".join(dict.fromkeys(model.precision or precision for model in self.models))

    def place(self, device: torch.device) -> None:
        """Move the models to a device."""
        for model in self.models:
            place(model, device)
