"""The weights of a saved model, which are in its own file, or in one that timm reads as well."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from zoo.artefacts.hub.snapshot import TIMM_WEIGHTS, WEIGHTS
from zoo.models.config import ModelConfig
from zoo.models.weights.files import read_state, state_of
from zoo.models.weights.layouts import convert

Contents = Mapping[str, bytes | memoryview]


def weights_file(folder: Path) -> Path:
    """Return the file with the weights of a saved model: model.safetensors if it was pushed as a model of timm as well."""
    own, shared = folder / WEIGHTS, folder / TIMM_WEIGHTS
    return shared if shared.is_file() and not own.is_file() else own


def saved_state(folder: Path, config: ModelConfig, contents: Contents | None = None) -> dict[str, Tensor]:
    """Read the weights of a saved model, with the zoo's key names. The tensors are the same for both files.

    Those of an encrypted model are in `contents`; the tensors are parts of it, and must not be changed.
    """
    if contents is None:
        path = weights_file(folder)
        state = read_state(path)
    else:
        path = folder / (TIMM_WEIGHTS if TIMM_WEIGHTS in contents and WEIGHTS not in contents else WEIGHTS)
        state = state_of(contents.get(path.name), path)
    if path.name == WEIGHTS:
        return state
    found, head = convert(state, config.backbone, str(path)), next(iter(config.heads))
    return {f"backbone.{key}": value for key, value in found.backbone.items()} | {
        f"heads.{head}.{key}": value for key, value in found.head.items()
    }
