"""Fingerprints of a model's configuration and parameters, which identify the model that a score or an embedding belongs to."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from zoo.data.fingerprint import _LENGTH
from zoo.images.preprocess import Preprocess

if TYPE_CHECKING:
    from zoo.models.model import Model

_PREPROCESS = Preprocess()


def model_fingerprint(model: Model) -> str:
    """Return a fingerprint of a model's configuration, parameters and buffers, which doesn't depend on their origin.

    A compiled model has the same fingerprint as the model it was compiled from, because their predictions agree.
    """
    if model.fingerprints is not None:
        return str(model.fingerprints["model"])
    config = {name: value for name, value in model.config.to_dict().items() if name not in ("weights", "licences", "freeze")}
    return _fingerprint(config, model.state_dict())


def fingerprints(model: Model) -> dict[str, Any]:
    """Return the fingerprints "model" and "embeddings". Models compiled from this one inherit them.

    For a model with several heads, they are "model" and "heads", a dict from head name to the fingerprints of a model with that head alone.
    """
    if model.is_joint:
        return {"model": model_fingerprint(model), "heads": {name: fingerprints(model.view(name)) for name in model.config.heads}}
    return {"model": model_fingerprint(model), "embeddings": embedding_fingerprint(model)}


def embedding_fingerprint(model: Model) -> str:
    """Return a fingerprint of everything that a face model's embeddings depend on, and of nothing else.

    The fingerprint must stay the same for years. It covers backbone, epsilon, preprocessing, neck and distance, and all parameters and
    buffers except those of the loss and the counters of batch-norms. Default values of `Preprocess` are omitted, so that a new option
    doesn't change existing fingerprints. For the same reason, a default must never change.

    Raises:
        InputError: the model has several heads. Pass a view of the face head.
    """
    _ = model.config.only
    if model.fingerprints is not None:
        return str(model.fingerprints["embeddings"])
    model = model.view(next(iter(model.config.heads)))
    config = model.config
    settings = {
        "backbone": config.backbone,
        "norm_eps": config.norm_eps,
        "preprocess": {name: value for name, value in config.preprocess.to_dict().items() if value != getattr(_PREPROCESS, name)},
        **model.definition.building.identity(config.options),
    }
    loss = tuple(f"heads.{model.task}.{part}" for part in getattr(model.head, "class_dependent", ()))
    state = {
        name: tensor
        for name, tensor in model.state_dict().items()
        if not name.startswith(loss) and not name.endswith("num_batches_tracked")
    }
    return _fingerprint({name: value for name, value in settings.items() if value is not None}, state)


def trunk_fingerprint(model: Model) -> str:
    """Return a fingerprint of what a backbone's features depend on: its name, epsilon, normalisation, parameters and buffers."""
    config, way = model.config, model.config.passes[0].preprocess
    return _fingerprint([config.backbone, config.norm_eps, way.mean, way.std], model.backbone.state_dict())


def _fingerprint(config: Any, state: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(json.dumps(config, sort_keys=True, default=str).encode())
    for name, tensor in sorted(state.items()):
        value = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:_LENGTH]
