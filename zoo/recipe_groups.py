"""Which of a recipe's settings belong together, and what each is for: the groups of `zoo train --help`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import docstring_parser

GROUPS: Mapping[str, str] = {
    "schedule": "How long training goes on, and how the learning rate moves.",
    "optimisation": "How the weights are changed, by how much and on how many pictures at once.",
    "sampling": "Which pictures come together in a batch.",
    "augmentation": "How pictures are changed before they are learned from.",
    "regularisation": "What keeps the model from learning the pictures by heart.",
    "freezing": "What stays as it is.",
    "loss": "What is made small.",
    "running": "Where the randomness comes from, how exactly it computes, and what it does when something goes wrong.",
}
OTHERS = "other"  # the group of what no recipe has put into one


def grouped(kind: type[Any]) -> dict[str, tuple[str, ...]]:
    """Return the settings of a recipe by group: first those that every task has, then the task's own.

    A recipe names its groups in the class variable `groups`, and those of the classes it is made from hold for it too; where two of
    them put a setting into different groups, the more special one does.

    Args:
        kind: the recipe, a dataclass.
    """
    of: dict[str, str] = {}
    for part in reversed(kind.__mro__):
        of |= {name: group for group, names in vars(part).get("groups", {}).items() for name in names}
    settings = [setting.name for setting in fields(kind)]
    order = [*GROUPS, *of.values(), OTHERS]
    found = {group: tuple(name for name in settings if of.get(name, OTHERS) == group) for group in dict.fromkeys(order)}
    return {group: names for group, names in found.items() if names}


def explained(kind: type[Any]) -> dict[str, str]:
    """Return what each setting is for, from the docstrings ("Attributes") of the recipe and of the classes it is made from."""
    found: dict[str, str] = {}
    for part in reversed(kind.__mro__):
        known = docstring_parser.parse(vars(part).get("__doc__") or "").params
        found |= {said.arg_name: " ".join(said.description.split()) for said in known if said.description}
    return {setting.name: found.get(setting.name, "") for setting in fields(kind)}
