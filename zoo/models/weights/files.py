"""Read weights files: safetensors, dlib's format, and pickles with `weights_only=True`."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from zoo.errors import WeightsError
from zoo.models.weights import dlib_file
from zoo.system.wording import look_at

_PICKLES = {".pth", ".pt", ".th", ".bin", ".ckpt"}
# keys under which training scripts store the weights in a checkpoint; averaged weights have precedence, as in timm
_WRAPPERS = ("state_dict_ema", "model_ema", "state_dict", "model")


def is_path(weights: str | Path) -> bool:
    """Return whether a value of `weights=` is the path of a file or folder, and not a name."""
    if isinstance(weights, Path) or "/" in weights or "\\" in weights:
        return True
    return Path(weights).suffix in {".safetensors", dlib_file.SUFFIX, *_PICKLES} or Path(weights).exists()


def read_state(path: Path) -> dict[str, Tensor]:
    """Read the state dict in a weights file of any supported type, without the prefix `module.` in its keys."""
    if not path.is_file():
        raise WeightsError(f"weights {path}: the file does not exist. {look_at(path)}")
    if path.suffix == ".safetensors":
        try:
            return dict(load_file(path))
        except (SafetensorError, OSError) as error:
            raise WeightsError(f"weights {path}: the file is not a readable safetensors file ({error})") from error
    if path.suffix == dlib_file.SUFFIX:
        return dlib_file.read_dlib(path)
    if path.suffix not in _PICKLES:
        known = ", ".join([".safetensors", *sorted(_PICKLES), dlib_file.SUFFIX])
        raise WeightsError(f"weights {path}: unknown file type {path.suffix!r}; expected one of {known}")
    return _unwrap(_read_pickle(path), path)


def _read_pickle(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Detected pickle protocol", UserWarning)  # the error raised below is clearer
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # for damaged files, torch's unpickler raises errors of any class
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise WeightsError(
            f"weights {path}: the file can't be read with weights_only=True ({reason}). It is damaged, or it contains Python objects, "
            "which are never unpickled; save a plain state_dict instead"
        ) from error


def _unwrap(content: Any, path: Path) -> dict[str, Tensor]:
    if isinstance(content, Mapping):
        content = next((content[wrapper] for wrapper in _WRAPPERS if isinstance(content.get(wrapper), Mapping)), content)
    if not isinstance(content, Mapping) or not content or not all(isinstance(value, Tensor) for value in content.values()):
        raise WeightsError(
            f"weights {path}: no state dict in the file; expected a dict of names to tensors, or one under the key 'state_dict' or 'model'"
        )
    return {str(key).removeprefix("module."): value for key, value in content.items()}
