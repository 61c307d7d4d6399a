"""Find the linear classifier that belongs to a backbone in a checkpoint, and skip other layers after the backbone."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from zoo.models.weights.prefixes import Found

# names of a classifier beside the backbone: mmpretrain, Lightning modules, and self-written models
_BESIDE = ("head.fc", "head", "fc", "classifier", "linear", "last_linear", "cls_head.fc", "cls_head", "classification_head", "head.linear")
# prefixes of encoders in self-supervised training, whose last layers are a projection and no classifier
_PROJECTED = re.compile(r"(^|\.)(encoder_[qk]|(base|momentum)_encoder)\.")
_PROJECTION = re.compile("projection|projector|predictor|prototypes|queue")
_ENCODER = re.compile(r"(encoder|backbone|trunk|student|teacher|online)[^.]*\.")


def with_classifier(found: Found, shapes: Mapping[str, torch.Size], channels: int) -> Found:
    """Return the weights with the linear classifier that is stored beside the backbone, and without layers that aren't a classifier.

    Layers after a self-supervised encoder are left out, and `notes` mentions them, because they aren't a classifier: all layers of MoCo's
    encoders, and everything except a single linear layer for other encoders.

    Args:
        found: weights under a prefix.
        shapes: shapes of the backbone's weights by key.
        channels: number of channels of the backbone's last level.
    """
    stages = {key.partition(".")[0] for key in shapes}
    last = {key: value for key, value in found.state.items() if key.partition(".")[0] not in stages}
    strange = {key for key in last if _PROJECTION.match(key)}
    if _PROJECTED.search(found.prefix) or (_ENCODER.search(found.prefix) and not _is_linear(last, channels)):
        strange = set(last)
    if strange:
        state = {key: value for key, value in found.state.items() if key not in strange}
        found = replace(found, state=state, rest={**{f"{found.prefix}{key}": last[key] for key in last if key in strange}, **found.rest})
    if last or _PROJECTED.search(found.prefix):
        return found
    for name in _beside(found.prefix):
        head = {key: found.rest[key] for key in (f"{name}.weight", f"{name}.bias") if key in found.rest}
        if _is_linear({key.removeprefix(f"{name}."): value for key, value in head.items()}, channels):
            own = {f"fc.{key.rpartition('.')[2]}": value for key, value in head.items()}
            rest = {key: value for key, value in found.rest.items() if key not in head}
            return replace(found, state={**found.state, **own}, rest=rest, choice=(*found.choice, f"used {name!r} as the classifier"))
    return found


def _beside(prefix: str) -> Iterator[str]:
    """Yield possible names of a classifier beside a prefix, next to the backbone first."""
    parents = list(itertools.accumulate((f"{part}." for part in prefix.split(".")[:-1]), initial=""))[:-1]
    for parent in reversed(parents):
        yield from (f"{parent}{name}" for name in _BESIDE)


def _is_linear(layers: Mapping[str, Tensor], channels: int) -> bool:
    """Return whether the entries are those of one linear layer (weight and bias) on this number of channels."""
    ends = {key.rpartition(".")[2]: value for key, value in layers.items()}
    if len(layers) != 2 or ends.keys() != {"weight", "bias"} or len({key.rpartition(".")[0] for key in layers}) > 1:
        return False
    weight = ends["weight"]
    return weight.ndim in (2, 4) and weight.numel() == len(weight) * channels and ends["bias"].shape == weight.shape[:1]
