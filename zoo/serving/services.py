"""Services: what a task offers beside predictions, such as galleries of faces. The core knows them by name only.

A task package defines `SERVICES = {"galleries": "package.module:Class"}`. The server adds the routes `/v1/galleries/{name}/{action}`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, cast

if TYPE_CHECKING:
    from zoo.models.model import Model
    from zoo.task.answers import Prediction


@dataclass(frozen=True)
class Action:
    """One thing that a service does.

    Attributes:
        summary: description for the OpenAPI document.
        pictures: whether the request contains pictures.
        parameters: names of the parameters, with their descriptions.
        method: method of the request, "POST" for everything that contains pictures or changes something.
    """

    summary: str
    pictures: bool
    parameters: Mapping[str, str]
    method: str = "POST"


class Service(Protocol):
    """A service for one place, such as one gallery. It runs in the worker process."""

    actions: ClassVar[Mapping[str, Action]]

    def __init__(self, place: str, model: Model) -> None:
        """Set the place and the model; nothing is opened yet.

        Raises:
            InputError: the place is invalid, or the model isn't of the service's task.
        """

    def run(self, action: str, predictions: Sequence[Prediction], values: Mapping[str, str]) -> dict[str, Any]:
        """Run an action, and return its result as JSON-compatible values.

        Args:
            action: one of `actions`.
            predictions: predictions of the model for the pictures of the request.
            values: parameters of the request.

        Raises:
            InputError: the parameters or pictures are invalid.
        """


def service_class(name: str) -> type[Service]:
    """Return the class with the name "module:class"."""
    module, _, attribute = name.partition(":")
    return cast("type[Service]", getattr(import_module(module), attribute))
