"""Lookup of weights by file, folder of a saved model, or name, and loading of weights into a model."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from zoo.backbones import BACKBONES
from zoo.errors import WeightsError
from zoo.models.config import model_folder, read_description
from zoo.models.weights import Weights
from zoo.models.weights.files import is_path, read_state
from zoo.models.weights.layouts import convert
from zoo.task.contract import get_task

if TYPE_CHECKING:
    from zoo.models.model import Model

_LOG = logging.getLogger("zoo")


def find_weights(weights: str | Path, backbone: str, task: str) -> Weights:
    """Return the weights from a file, the folder of a saved model or by name, converted for a model with this backbone and task."""
    if is_path(weights):
        path = Path(weights).expanduser()
        if path.is_dir():
            return _saved_weights(model_folder(path), backbone, task)
        if path.name == "weights.safetensors" and (path.parent / "model.json").is_file():
            return _saved_weights(path.parent, backbone, task)
        return convert(read_state(path), backbone, str(path))
    from zoo.models.weights.named import load_named_weights  # slow: imports torchvision's and timm's tables

    return load_named_weights(str(weights), backbone, task)


def _saved_weights(folder: Path, backbone: str, task: str) -> Weights:
    """Return the weights of a saved model, with its classes, epsilon, preprocessing, options and metadata."""
    config, metadata, compiled = read_description(folder)
    if compiled is not None:
        raise WeightsError(
            f"{folder}: an exported model contains the graphs of one engine and no weights; pass the model that it was exported from"
        )
    known: Mapping[str, Any] = {}
    path, preprocess = folder / "weights.safetensors", config.preprocess
    if config.task != task:  # image sizes of another task don't apply, but the backbone needs the same normalisation
        preprocess = replace(BACKBONES[backbone].preprocess(), mean=preprocess.mean, std=preprocess.std)
    else:
        known = get_task(task).building.metadata(get_task(task).parse_options(config.options))
    return replace(
        convert(read_state(path), backbone, str(path)),
        num_classes=len(config.classes),
        classes=config.classes,
        preprocess=preprocess,
        norm_eps=config.norm_eps,
        options=config.options,
        metadata={name: metadata[name] for name in known if name in metadata},
    )


def fit_weights(model: Model, weights: Weights, say: Callable[[str], None] | None = None) -> None:
    """Load weights into a model with fresh parameters, in place.

    The keys must match, except that the class-dependent parameters of a head with a different number of classes are skipped.

    Args:
        model: model to load the weights into.
        weights: the weights.
        say: callback that receives messages about parameters that were not loaded. By default, they are logged as warnings.

    Raises:
        WeightsError: the keys or shapes don't match.
    """
    say = say or _LOG.warning
    if weights.note:
        say(f"weights {weights.origin}: {weights.note}")
    _load(model.backbone, weights.backbone, f"weights {weights.origin} for the backbone {model.backbone_name}")
    if not weights.head or weights.task != model.task:
        say(f"weights {weights.origin}: loaded into the backbone; the {model.task} head is newly initialised")
        return
    own = model.head.state_dict()
    fresh = _other_class_count(model.head, weights.head)
    head = {key: value for key, value in weights.head.items() if key not in fresh} | {key: own[key] for key in fresh if key in own}
    _load(model.head, head, f"weights {weights.origin} for the head of {model.task}")
    if fresh:
        say(
            f"weights {weights.origin}: made for {weights.num_classes or 'another number of'} classes, but the model has "
            f"{len(model.classes)}; newly initialised: {', '.join(fresh)}"
        )


def _other_class_count(head: nn.Module, given: Mapping[str, Tensor]) -> list[str]:
    """Return the class-dependent keys of head and weights if any of them differ in shape, otherwise an empty list.

    If one of these parameters can't be loaded, all of them are skipped.
    """
    prefixes: tuple[str, ...] = getattr(head, "class_dependent", ())
    own = {key: value.shape for key, value in head.state_dict().items() if key.startswith(prefixes)}
    theirs = {key: value.shape for key, value in given.items() if key.startswith(prefixes)}
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
    faults = []
    for kind, keys in (("missing", missing), ("unknown", extra), ("of another shape", shapes)):
        more = f" and {len(keys) - 6} more" if len(keys) > 6 else ""
        faults += [f"{len(keys)} keys {kind}: {'; '.join(keys[:6])}{more}."] if keys else []
    if faults:
        raise WeightsError(f"{what} do not match. {' '.join(faults)} Are these weights for a different backbone?")
    module.load_state_dict({**own, **given})
