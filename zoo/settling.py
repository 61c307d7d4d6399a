"""The options of a model that is built: the caller's, else those of its weights, else those that belong to its trunk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from zoo.backbones import BackboneDefinition
from zoo.errors import InputError
from zoo.task import Task
from zoo.weights import Weights


@dataclass(frozen=True)
class Settled:
    """What a model is built with.

    Attributes:
        options: of the task, none left open.
        metadata: what the weights say of the answers that a model with these options gives; empty where they say nothing.
    """

    options: Any
    metadata: Mapping[str, Any]


def settle(task: Task, definition: BackboneDefinition, weights: Weights | None, asked: Mapping[str, Any]) -> Settled:
    """Bring together what is said about the options of a model.

    Args:
        task: what the model is for.
        definition: the trunk's.
        weights: those that it is to have.
        asked: the caller's options; what is None is not asked for.

    Raises:
        UnknownNameError: an option that the task doesn't have.
        InputError: an option that can't be meant, or that the weights contradict.
    """
    given = {name: value for name, value in asked.items() if value is not None}
    own = definition.options.get(task.name, {})
    if weights is None or weights.task != task.name:
        return Settled(task.parse_options({**own, **given}), {})
    made_with = {**own, **weights.options}
    for name in task.bound_options(made_with):
        if name in given and given[name] != made_with[name]:
            raise InputError(
                f"{task.name}: {name} is {given[name]!r}, but the weights {weights.origin} were trained with {made_with[name]!r}; "
                "leave it out"
            )
    options = task.parse_options({**made_with, **given})
    same = task.metadata(options) == task.metadata(task.parse_options(made_with))
    return Settled(options, weights.metadata if same else {})
