"""Names of weights: timm tags, members of torchvision's enums, and names of the weights of other backbones; with their licences."""

from __future__ import annotations

import fnmatch
from typing import Any

import torchvision

from zoo.backbones import BACKBONES, Licence
from zoo.errors import UnknownNameError, WeightsError
from zoo.task.contract import TASKS

# torchvision's detection models by backbone; the weights of all but the first are named with their class
_DETECTORS = {"resnet50": ("fasterrcnn_resnet50_fpn", "fasterrcnn_resnet50_fpn_v2")}
_ALIAS = "DEFAULT"  # torchvision's second name of the best weights of a model


def known_weights(backbone: str, task: str) -> tuple[str, ...]:
    """Return the names of all known weights for a backbone and task, the default first."""
    return tuple(dict.fromkeys((*detector_weights(backbone, task), *BACKBONES[backbone].weights(), *torchvision_weights(backbone))))


def torchvision_weights(builder: str) -> dict[str, Any]:
    """Return the weights of a torchvision model by name; none if torchvision has no such model."""
    if builder not in torchvision.models.list_models():
        return {}
    return dict(torchvision.models.get_model_weights(builder).__members__)


def detector_weights(backbone: str, task: str) -> dict[str, Any]:
    """Return the weights of torchvision's detectors on a backbone by name: "COCO_V1", and the full names of all others."""
    first, *others = _DETECTORS.get(backbone, ("",)) if task == "detection" else ("",)
    return {**torchvision_weights(first), **{str(entry): entry for other in others for entry in torchvision_weights(other).values()}}


def settled_name(name: str, backbone: str, task: str) -> str:
    """Return the name in `known_weights` that is meant by "default", by one of these names, or by a full name of torchvision.

    Raises:
        WeightsError: the default is requested, and no weights are known.
        UnknownNameError: the name is unknown.
    """
    known = known_weights(backbone, task)
    if name == "default":
        if not known:
            raise WeightsError(f"no weights are known for the backbone {backbone!r}; pass a file, or omit weights for random parameters")
        return known[0]
    entries = {**torchvision_weights(backbone), **detector_weights(backbone, task)}
    name = next((short for short, entry in entries.items() if str(entry) == name), name)
    if name not in known:
        raise UnknownNameError(
            f"weights for {backbone} ({task}):", name, known, _other_model(name) or ("" if known else "Pass a file instead.")
        )
    return name


def _other_model(name: str) -> str:
    """Return a sentence about the model whose weights torchvision calls by this full name; "" if there is none."""
    for builder in torchvision.models.list_models() if "_Weights." in name else ():
        if name in map(str, torchvision.models.get_model_weights(builder)):
            return f"These are weights of torchvision's {builder}."
    return ""


def named_licence(name: str, backbone: str, task: str) -> Licence:
    """Return the licence of weights by name, of which `weights` is BACKBONE.NAME. Nothing is fetched.

    Raises:
        WeightsError: the default is requested, and no weights are known.
        UnknownNameError: the name is unknown.
    """
    name = settled_name(name, backbone, task)
    entries = {**torchvision_weights(backbone), **detector_weights(backbone, task)}
    full = f"{backbone}.{name}"
    if name not in entries:
        found = BACKBONES[backbone].licence(name)
        return Licence(full, found.licence, found.source, found.note)
    data = "COCO" if "COCO" in name else "ImageNet"
    note = f"torchvision states no licence for its weights, and refers to the terms of the training data ({data})"
    return Licence(full, source=entries[name].meta.get("recipe") or entries[name].url, note=note)


def all_licences(pattern: str = "*") -> list[Licence]:
    """Return the licences of all known weights whose names BACKBONE.NAME match a shell pattern, by backbone."""
    found: dict[str, Licence] = {}
    for backbone in BACKBONES:
        for task in TASKS:
            for name in known_weights(backbone, task):
                full = f"{backbone}.{name}"
                if full not in found and name != _ALIAS and fnmatch.fnmatchcase(full, pattern):
                    found[full] = named_licence(name, backbone, task)
    return [*found.values()]


def described_weights(name: str) -> dict[str, Any] | None:
    """Describe weights by their name, for `zoo.info`; None if no weights have it.

    Args:
        name: BACKBONE.NAME, a full name of torchvision, or a name that the weights of only one backbone have.

    Raises:
        UnknownNameError: the weights of several backbones have this name, or it is unknown for the backbone.
    """
    backbone, _, short = name.partition(".")
    if backbone not in BACKBONES:
        having = [each for each in BACKBONES if any(_has(each, task, name) for task in TASKS)]
        if len(having) > 1:
            which = [f"{each}.{name}" for each in having]
            raise UnknownNameError("weights", name, which, f'Pass BACKBONE.NAME; see all with: zoo list --weights "*.{name}"')
        if not having:
            return None
        backbone, short = having[0], name
    tasks = [task for task in TASKS if _has(backbone, task, short)]
    if not tasks:
        known = [f"{backbone}.{each}" for task in TASKS for each in known_weights(backbone, task)]
        raise UnknownNameError("weights", name, dict.fromkeys(known), f'See the weights with: zoo list --weights "{backbone}.*"')
    found = named_licence(short, backbone, tasks[0])
    return {"backbone": backbone, **found.to_dict(), "permissive": found.permissive, "research_only": found.research_only, "tasks": tasks}


def _has(backbone: str, task: str, name: str) -> bool:
    try:
        settled_name(name, backbone, task)
    except (UnknownNameError, WeightsError):
        return False
    return True
