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
    refuse_others(task, f"the weights {weights.origin}", made_with, given)
    options = task.parse_options({**made_with, **given})
    same = task.metadata(options) == task.metadata(task.parse_options(made_with))
    return Settled(options, weights.metadata if same else {})


def refuse_others(task: Task, weights: str, made_with: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """Refuse other options than weights can be used with.

    Args:
        task: what the model is for.
        weights: what they are, for the message.
        made_with: the options that they were trained with.
        asked: the caller's options.

    Raises:
        InputError: naming the option, and both values.
    """
    for name in task.bound_options(made_with):
        if name in asked and asked[name] != made_with[name]:
            raise InputError(f"{task.name}: {name} is {asked[name]!r}, but {weights} were trained with {made_with[name]!r}; leave it out")
