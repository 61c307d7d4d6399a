"""Licences that a model inherits from its weights, and the policy that refuses weights without a permissive licence."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

from zoo.artefacts.hub.reference import is_reference
from zoo.artefacts.hub.snapshot import fetch
from zoo.backbones import UNKNOWN, Licence
from zoo.errors import InputError, UnknownNameError, WeightsError
from zoo.models.config import model_folder, read_description
from zoo.models.weights.files import is_path
from zoo.models.weights.layouts import Weights
from zoo.models.weights.names import named_licence
from zoo.models.weights.repositories import own_licence

LicencePolicy = Literal["any", "permissive"]
VARIABLE = "ZOO_LICENCE_POLICY"  # environment variable with the policy of all commands
_OWN = "a file, whose licence the zoo can't know"
_SAID = set[str]()  # names of the weights whose restriction this process has reported


def find_licences(weights: str | Path, backbone: str, tasks: Mapping[str, str]) -> tuple[Licence, ...]:
    """Return the licences of weights: a name, a file, the folder of a saved model, or a repository. Weights aren't fetched or loaded.

    Unknown names and folders without a saved model have none, because loading reports them.

    Args:
        weights: value of `weights=` in `zoo.build`.
        backbone: name of the backbone.
        tasks: name of the task of each head, by head name.
    """
    if not is_path(weights):
        for task in dict.fromkeys(tasks.values()):
            try:
                return (named_licence(str(weights), backbone, task),)
            except (UnknownNameError, WeightsError):
                continue
        return ()
    if is_reference(weights):
        snapshot = fetch(weights, weights=False)
        inherited = read_description(snapshot.folder)[0].licences if snapshot.is_model else ()
        return (own_licence(snapshot), *inherited)
    path = Path(weights).expanduser()
    saved = path.parent if path.name == "weights.safetensors" and (path.parent / "model.json").is_file() else path
    if not saved.is_dir():
        return (Licence(str(path), note=_OWN),)
    try:
        folder = model_folder(saved)
    except InputError:
        return ()
    return read_description(folder)[0].licences


def settled_licences(found: tuple[Licence, ...], loaded: Weights) -> tuple[Licence, ...]:
    """Return the licences of weights that were loaded: that of a file is known if its contents are those of published weights."""
    if loaded.published is None or [each.licence for each in found] != [UNKNOWN]:
        return found
    return (replace(loaded.published, weights=found[0].weights),)


def check_licences(licences: Iterable[Licence], policy: str | None) -> None:
    """Raise an `InputError` if the policy is "permissive" and one of the licences isn't permissive.

    Args:
        licences: licences of the weights.
        policy: "any" or "permissive"; None for the value of the environment variable ZOO_LICENCE_POLICY, or else "any".
    """
    chosen = policy or os.environ.get(VARIABLE) or "any"
    set_by = "licence_policy (--licence-policy)" if policy else f"the environment variable {VARIABLE}"
    if chosen not in get_args(LicencePolicy):
        raise InputError(f"{set_by} is {chosen!r}; expected one of {', '.join(get_args(LicencePolicy))}")
    refused = [each for each in licences if not each.permissive] if chosen == "permissive" else []
    if not refused:
        return
    which = "; ".join(f"{each.weights}: {in_words(each)}" for each in refused)
    remedy = "choose other weights (zoo list --weights prints all with their licences)"
    if any(each.note == _OWN for each in refused):
        remedy += "; if these are your own, save the model with zoo.save and state their licence in its model.json, under licences"
    raise InputError(f"refused weights without a permissive licence, because {set_by} is 'permissive'. {which}. Remedy: {remedy}")


def report_licences(licences: Iterable[Licence], say: Callable[[str], None]) -> None:
    """Report weights for research only, each of them once in this process."""
    for each in licences:
        if each.research_only and each.weights not in _SAID:
            _SAID.add(each.weights)
            say(f"weights {each.weights}: for non-commercial research only. Licence: {in_words(each)}")


def in_words(licence: Licence) -> str:
    """Return a licence with its source and its note in one line."""
    return licence.licence + "".join(f", {part}" for part in (licence.source, licence.note) if part)
