"""Read weights files: safetensors, dlib's format, pickles with `weights_only=True`, and several files with an index."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from zoo.errors import WeightsError
from zoo.models.weights import dlib_file, shards
from zoo.models.weights.pickles import is_archive, read_pickle
from zoo.system.wording import look_at, reason

_DTYPES = {
    **{"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16},
    **{"I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool},
}
_PICKLES = {".pth", ".pt", ".th", ".bin", ".ckpt", ".tar"}


def is_path(weights: str | Path) -> bool:
    """Return whether a value of `weights=` is the path of a file or folder, and not a name."""
    if isinstance(weights, Path) or "/" in weights or "\\" in weights:
        return True
    if weights.endswith(shards.SUFFIX):
        return True
    return Path(weights).suffix.lower() in {".safetensors", dlib_file.SUFFIX, *_PICKLES} or Path(weights).exists()


def read_state(path: Path) -> dict[str, Tensor]:
    """Read all tensors in a weights file of any supported type, or the files of an index, by key.

    Keys of nested dictionaries are joined with dots.

    `layouts.convert` finds the weights among them, whatever else the checkpoint contains.
    """
    if path.name.endswith(shards.SUFFIX):
        return shards.read_index(path, _read)
    shards.check_whole(path)
    return _read(path)


def state_of(data: bytes | memoryview | None, path: Path) -> dict[str, Tensor]:
    """Return the tensors in the content of a safetensors file, as parts of `data`; the path is for messages. Don't change them.

    The function of the library would copy them, which takes a fifth of the time to load a model.

    Raises:
        WeightsError: there is no content, or it isn't that of a safetensors file.
    """
    if data is None:
        raise WeightsError(f"weights {path}: the file does not exist in the encrypted model; encrypt the model again")
    try:
        size, view = int.from_bytes(data[:8], "little"), memoryview(data)
        header = json.loads(str(view[8 : 8 + size], "utf-8"))
        tensors = view[8 + size :]
        return {name: _tensor(tensors, entry) for name, entry in header.items() if name != "__metadata__"}
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError, RecursionError) as error:
        raise WeightsError(f"weights {path}: the file is not a readable safetensors file ({reason(error)})") from error


def _tensor(data: memoryview, entry: Mapping[str, Any]) -> Tensor:
    begin, end = entry["data_offsets"]
    dtype, shape = _DTYPES[entry["dtype"]], entry["shape"]
    if not 0 <= begin <= end <= len(data) or end - begin != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"the data of a tensor {shape} is not at {begin} to {end}")
    return torch.frombuffer(data[begin:end], dtype=dtype).reshape(shape) if end > begin else torch.empty(shape, dtype=dtype)


def _read(path: Path) -> dict[str, Tensor]:
    """Read the tensors in one weights file."""
    if not path.is_file():
        raise WeightsError(f"weights {path}: the file does not exist. {look_at(path)}")
    suffix = path.suffix.lower()
    if suffix == ".safetensors":
        try:
            return dict(load_file(path))
        except (SafetensorError, OSError) as error:
            hint = "; it was written by torch.save, so give it the suffix .pth" if is_archive(path) else ""
            raise WeightsError(f"weights {path}: the file is not a readable safetensors file ({error}){hint}") from error
    if suffix == dlib_file.SUFFIX:
        return dlib_file.read_dlib(path)
    if suffix not in _PICKLES:
        known = ", ".join([".safetensors", *sorted(_PICKLES), dlib_file.SUFFIX, shards.SUFFIX])
        raise WeightsError(f"weights {path}: unknown file type {path.suffix!r}; expected one of {known}")
    state = read_pickle(path)
    if not any("." in key for key in state):
        raise WeightsError(
            f"weights {path}: no state dict in the file; expected a dict of names to tensors, or one under a key (state_dict, model, …)"
        )
    return state
