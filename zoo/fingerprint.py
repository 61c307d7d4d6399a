"""What exactly was measured: fingerprints of data and model, and the versions of what computed the scores."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from zoo.preprocess import Preprocess

if TYPE_CHECKING:
    from zoo.data import Dataset
    from zoo.model import Model

_PACKAGES = ("resnet-zoo", "torch", "torchvision", "timm", "opencv-python", "numpy", "pycocotools", "faster-coco-eval", "torchmetrics")
_ENGINES = ("openvino", "onnxruntime", "nncf")
_PREPROCESS = Preprocess()
_LENGTH = 16  # hexadecimal digits: 64 bits


def data_fingerprint(dataset: Dataset) -> str:
    """Return a fingerprint of keys, pictures and targets; the order of the samples has no part in it.

    Pictures count by the bytes of their files, so the same data at another place has the same fingerprint. A picture that can't be
    read counts as missing: evaluation says so in its own way.
    """
    lines = sorted(f"{record.key}\t{_picture(record.source, record.key)}\t{_target(record.target)}" for record in dataset.records)
    classes = json.dumps(list(dataset.classes))
    return hashlib.sha256("\n".join([classes, *lines]).encode("utf-8", "surrogatepass")).hexdigest()[:_LENGTH]


def manifest_fingerprint(dataset: Dataset) -> str:
    """Return a fingerprint of keys and targets in their order: what decides which sample is drawn when. No picture is read."""
    lines = [json.dumps(list(dataset.classes)), *(f"{record.key}\t{_target(record.target)}" for record in dataset.records)]
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogatepass")).hexdigest()[:_LENGTH]


def file_fingerprint(path: Path) -> str:
    """Return a fingerprint of a file's bytes.

    Raises:
        OSError: it can't be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()[:_LENGTH]


def _picture(source: Any, key: str) -> str:
    if isinstance(source, Path):
        try:
            return file_fingerprint(source)
        except OSError:
            return "missing"
    if callable(source):  # drawn or unpacked on demand, by the zoo itself or a file that was read whole
        return str(getattr(source, "fingerprint", f"made of {key}"))
    return hashlib.blake2b(np.ascontiguousarray(source).tobytes()).hexdigest()[:_LENGTH]


def _target(target: Any) -> str:
    if isinstance(target, Mapping):
        parts = ((name, np.asarray(value)) for name, value in sorted(target.items()))
        return hashlib.blake2b(
            b"".join(f"{name} {value.dtype} {value.shape} ".encode() + value.tobytes() for name, value in parts)
        ).hexdigest()[:_LENGTH]
    return repr(target)


def model_fingerprint(model: Model) -> str:
    """Return a fingerprint of a model's configuration and of every number in it, wherever they came from.

    A compiled model has that of the model it was made from: it has been seen to answer as that does.
    """
    if model.fingerprints is not None:
        return model.fingerprints["model"]
    config = {name: value for name, value in model.config.to_dict().items() if name not in ("weights", "freeze")}
    return _fingerprint(config, model.state_dict())


def fingerprints(model: Model) -> dict[str, str]:
    """Return both fingerprints, which a model that is compiled from this one goes by too."""
    return {"model": model_fingerprint(model), "embeddings": embedding_fingerprint(model)}


def embedding_fingerprint(model: Model) -> str:
    """Return a fingerprint of what a face model's embeddings depend on, and of nothing else: it must stay what it is for years.

    Those are trunk, epsilon, preprocessing, neck and length, and every number but the loss's and the counts of batch-norms. What has
    its default value is left out, so that a further option of `Preprocess` changes no fingerprint; a default must never change.
    """
    if model.fingerprints is not None:
        return model.fingerprints["embeddings"]
    config, face = model.config, model.config.options
    said = {
        "backbone": config.backbone,
        "norm_eps": config.norm_eps,
        "preprocess": {name: value for name, value in config.preprocess.to_dict().items() if value != getattr(_PREPROCESS, name)},
        "neck": None if face.get("neck") in (None, "mean") else face["neck"],
        "distance": None if face.get("distance") in (None, "cosine") else face["distance"],
    }
    parts: tuple[str, ...] = getattr(model.head, "class_dependent", ())
    loss = tuple(f"heads.{model.task}.{part}" for part in parts)
    state = {
        name: tensor
        for name, tensor in model.state_dict().items()
        if not name.startswith(loss) and not name.endswith("num_batches_tracked")
    }
    return _fingerprint({name: value for name, value in said.items() if value is not None}, state)


def trunk_fingerprint(model: Model) -> str:
    """Return a fingerprint of what a model's trunk makes of prepared pictures: its name and epsilon, the normalisation, every number."""
    config = model.config
    return _fingerprint([config.backbone, config.norm_eps, config.preprocess.mean, config.preprocess.std], model.backbone.state_dict())


def _fingerprint(config: Any, state: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(json.dumps(config, sort_keys=True, default=str).encode())
    for name, tensor in sorted(state.items()):
        value = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:_LENGTH]


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages behind the scores, of those that are installed."""
    found = {"python": platform.python_version()}
    for package in (*_PACKAGES, *_ENGINES):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
