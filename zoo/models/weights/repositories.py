"""Weights and licences of repositories of the Hub that contain no model of the zoo, but weights, such as those of timm."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import timm

from zoo.artefacts.hub.snapshot import TIMM_CONFIG, Snapshot
from zoo.backbones import BACKBONES, UNKNOWN, Licence
from zoo.backbones.timm import preprocess_of
from zoo.errors import InputError
from zoo.images.preprocess import Preprocess
from zoo.models.classes import imagenet_classes
from zoo.models.weights.layouts import Weights

# timm's arguments that leave the network as it is, or whose effect on the shapes of the weights is checked
_HARMLESS = {"num_classes", "in_chans", "drop_rate", "drop_path_rate", "drop_block_rate", "global_pool", "pretrained"}
_AVERAGE = ("avg", "fast", "fastavg")  # timm's names of average pooling


def own_licence(snapshot: Snapshot) -> Licence:
    """Return the licence that the model card of a repository states."""
    stated = snapshot.licence
    return Licence(str(snapshot), stated or UNKNOWN, snapshot.reference.url, "" if stated else "its model card states no licence")


def timm_backbone(snapshot: Snapshot) -> str:
    """Return the name of the backbone in a repository of timm.

    Raises:
        InputError: it isn't a repository of timm, or has another network than the zoo's backbones.
    """
    config = _config(snapshot)
    name = config.get("architecture")
    if not isinstance(name, str):
        raise InputError(
            f"{snapshot} contains weights, but not the name of their network (architecture in {TIMM_CONFIG}). Pass a backbone as well: "
            f"--backbone NAME --weights {snapshot.reference}, or zoo.build(NAME, weights=…)"
        )
    if name not in BACKBONES:
        raise InputError(f'{snapshot} contains the network {name!r}, which isn\'t a backbone of the zoo; see them all with: zoo list "*"')
    return name


def described_by_timm(weights: Weights, snapshot: Snapshot, backbone: str) -> Weights:
    """Return weights with the classes and the preprocessing that a repository of timm describes, if it is one.

    Raises:
        InputError: the description isn't valid, or is that of another network.
    """
    config = _config(snapshot)
    if config.get("architecture") != backbone:
        return weights
    arguments = config.get("model_args") or {}
    changed, pool = sorted({*arguments} - _HARMLESS), {"global_pool": "avg", **config, **arguments}["global_pool"]
    if changed or pool not in _AVERAGE:
        what = ", ".join(changed) or f"global_pool {pool!r}"
        raise InputError(
            f"{snapshot}: {TIMM_CONFIG} changes the network ({what}), which the backbone {backbone} of the zoo doesn't support"
        )
    try:
        preprocess: Preprocess | None = preprocess_of({**timm.get_pretrained_cfg(backbone).to_dict(), **_pretrained(config)})
        classes = _classes(config, weights.num_classes)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{snapshot}: {TIMM_CONFIG} is not a valid description ({type(error).__name__}: {error})") from error
    return replace(weights, classes=classes, preprocess=preprocess)


def _config(snapshot: Snapshot) -> dict[str, Any]:
    """Return the content of config.json; empty if there is none."""
    path = snapshot.folder / TIMM_CONFIG
    if TIMM_CONFIG not in snapshot.files:
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise InputError(f"{snapshot}: {TIMM_CONFIG} can't be read ({error})") from error
    return content if isinstance(content, dict) else {}


def _pretrained(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return timm's pretrained configuration, which old versions of timm stored without nesting."""
    found: Any = config.get("pretrained_cfg", config)
    return {name: value for name, value in found.items() if value is not None}


def _classes(config: Mapping[str, Any], count: int) -> tuple[str, ...]:
    """Return the names of the classes; empty if they aren't known."""
    pretrained = _pretrained(config)
    names: Any = config.get("label_names") or pretrained.get("label_names") or pretrained.get("labels") or ()
    if isinstance(names, Mapping):
        names = [names[key] for key in sorted(names, key=int)]
    if len(names) == count and count:
        return tuple(map(str, names))
    return imagenet_classes() if count == 1000 else ()
