"""Loading of weights into a model: all keys must match, except those of a head with another number of classes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from torch import Tensor, nn

from zoo.errors import WeightsError
from zoo.models.weights import Weights

if TYPE_CHECKING:
    from zoo.models.model import Model

_LOG = logging.getLogger("zoo")


def fit_weights(model: Model, weights: Weights, say: Callable[[str], None] | None = None) -> None:
    """Load weights into a model, in place.

    Args:
        model: model with fresh parameters.
        weights: weights in the zoo's key names.
        say: callback that receives messages about what was not loaded; by default they are logged as warnings.

    Raises:
        WeightsError: keys are missing, unknown or of another shape; the message names them.
    """
    say = say or _LOG.warning
    if weights.note:
        say(f"weights {weights.origin}: {weights.note}")
    _load(model.backbone, weights.backbone, f"weights {weights.origin} for the backbone {model.backbone_name}")
    if not weights.head or weights.task != model.task:
        say(f"weights {weights.origin}: loaded into the backbone; the {model.task} head is newly initialised")
        return
    head = dict(weights.head)
    own = model.head.state_dict()
    fresh = _other_class_count(model.head, head)
    for key in fresh:
        head.pop(key, None)
        if key in own:
            head[key] = own[key]
    _load(model.head, head, f"weights {weights.origin} for the head of {model.task}")
    if fresh:
        say(
            f"weights {weights.origin}: made for {weights.num_classes or 'another number of'} classes, but the model has "
            f"{len(model.classes)}; newly initialised: {', '.join(fresh)}"
        )


def _other_class_count(head: nn.Module, given: Mapping[str, Tensor]) -> list[str]:
    """Return the class-dependent keys of head and weights if any of them differ, and none otherwise: they are skipped together."""
    prefixes: tuple[str, ...] = getattr(head, "class_dependent", ())
    own = {key: value.shape for key, value in head.state_dict().items() if key.startswith(prefixes)} if prefixes else {}
    theirs = {key: value.shape for key, value in given.items() if key.startswith(prefixes)} if prefixes else {}
    return [] if own == theirs else sorted({*own, *theirs})


def _load(module: nn.Module, given: Mapping[str, Tensor], what: str) -> None:
    own = module.state_dict()
    # batch counters may be missing: old files don't have them, and inference doesn't use them
    missing = [key for key in own if key not in given and not key.endswith("num_batches_tracked")]
    extra = [key for key in given if key not in own]
    shapes = [
        f"{key} is {list(given[key].shape)}, expected {list(value.shape)}"
        for key, value in own.items()
        if key in given and given[key].shape != value.shape
    ]
    if missing or extra or shapes:
        parts = [_list("missing", missing), _list("unknown", extra), _list("of another shape", shapes)]
        raise WeightsError(f"{what} do not match. {' '.join(part for part in parts if part)} Is it the right backbone?")
    module.load_state_dict({**own, **given})


def _list(kind: str, keys: list[str]) -> str:
    if not keys:
        return ""
    more = f" and {len(keys) - 6} more" if len(keys) > 6 else ""
    return f"{len(keys)} keys {kind}: {'; '.join(keys[:6])}{more}."
