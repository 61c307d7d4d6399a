"""Losses and targets of the attribute heads, which are linear layers on the representation of each box."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.data.dataset import ATTRIBUTE
from zoo.errors import InputError, UnknownNameError
from zoo.task.head import Losses

UNKNOWN = -1  # index of an unknown value


def attribute_losses(
    logits: Mapping[str, Tensor], targets: Sequence[Mapping[str, Tensor]], matched: Sequence[Tensor], labels: Sequence[Tensor]
) -> Losses:
    """Return the mean softmax cross-entropy of each attribute over the positive proposals whose object has a known value.

    The loss is 0, with gradients of 0, if there is no such proposal.

    Args:
        logits: logits of the sampled proposals of all images by attribute name, [P, values].
        targets: index of each object's value by attribute name, [G] each, for each image; -1 if unknown.
        matched: index of the object that each sampled proposal is matched to, [P_i] for each image.
        labels: class of each sampled proposal, [P_i] for each image; 0 is the background.
    """
    losses = {}
    for name, scores in logits.items():
        parts = []
        for target, places, classes in zip(targets, matched, labels, strict=True):
            wanted = torch.full_like(places, UNKNOWN)
            positive = classes > 0
            wanted[positive] = target[name][places[positive]]
            parts.append(wanted)
        wanted = torch.cat(parts)
        known = (wanted != UNKNOWN).sum().clamp(min=1)
        losses[f"loss_attribute_{name}"] = F.cross_entropy(scores, wanted, ignore_index=UNKNOWN, reduction="sum") / known
    return losses


def checked_values(target: Mapping[str, Any], sizes: Mapping[str, int], count: int, device: torch.device) -> dict[str, Tensor]:
    """Return the value indices of one image's objects by attribute name, [count] int64 each; -1 for attributes that the target lacks.

    Raises:
        InputError: an attribute is unknown, or an array has another length than the number of boxes or contains an invalid index.
    """
    given = {name.removeprefix(ATTRIBUTE): indices for name, indices in target.items() if name.startswith(ATTRIBUTE)}
    for name in given:
        if name not in sizes:
            raise UnknownNameError("attribute in a target for detection:", name, sizes)
    values = {}
    for name, size in sizes.items():
        indices = torch.as_tensor(given.get(name, torch.full((count,), UNKNOWN)), dtype=torch.int64, device=device)
        if indices.shape != (count,) or (count and not UNKNOWN <= int(indices.min()) <= int(indices.max()) < size):
            raise InputError(
                f"detection: the attribute {name!r} of a target with {count} boxes is {indices.tolist()[:8]}; expected one index from 0 to "
                f"{size - 1} per box, or -1 for an unknown value"
            )
        values[name] = indices
    return values
