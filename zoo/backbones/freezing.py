"""Freeze a backbone's layers."""

from __future__ import annotations

import re

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from zoo.backbones import Backbone
from zoo.errors import InputError

_STAGES = re.compile(r"stages=(\d+)")


def frozen_stages(backbone: Backbone, what: str) -> tuple[int, bool]:
    """Parse a `freeze` value; the syntax is described at `zoo.freeze`.

    Returns:
        The number of frozen stages, counting the stem as the first stage, and whether all batch-norms are frozen.
    """
    count, norm, last = 0, False, len(backbone.stages()) - 1
    for word in what.split(","):
        stages = _STAGES.fullmatch(word)
        if word not in ("none", "trunk", "norm") and (stages is None or int(stages[1]) > last):
            raise InputError(
                f"freeze is {what!r}; expected 'none', 'trunk', 'stages=N' with N up to {last}, 'norm', or two of them: 'stages=1,norm'"
            )
        norm = norm or word == "norm"
        count = max(count, {"trunk": last + 1}.get(word, int(stages[1]) + 1 if stages is not None else 0))
    return count, norm


def apply_freeze(backbone: Backbone, what: str) -> tuple[nn.Module, ...]:
    """Disable gradients for the frozen layers of a backbone, and enable them for all others.

    Returns:
        The frozen modules, which the caller must keep in evaluation mode.
    """
    count, norm = frozen_stages(backbone, what)
    stages = backbone.stages()
    backbone.requires_grad_(True)
    # a backbone may have parameters outside its stages
    frozen: list[nn.Module] = [backbone] if count == len(stages) else [module for stage in stages[:count] for module in stage]
    if norm:
        frozen += [module for module in backbone.modules() if isinstance(module, _BatchNorm)]
    for module in frozen:
        module.requires_grad_(False)
    return tuple(frozen)
