"""Cache key of pooled features, computed from images, decoding, preprocessing, backbone and precision."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from zoo.data.dataset import Dataset, Record
from zoo.images.decoding import Decoding
from zoo.images.preprocess import Preprocess
from zoo.models.fingerprint import trunk_fingerprint
from zoo.system.precision import Precision
from zoo.system.versions import versions

if TYPE_CHECKING:
    from zoo.models.model import Model

_FORMAT = 3  # version of the file format; files with other versions are ignored
_PACKAGES = ("resnet-zoo", "torch", "torchvision", "timm", "opencv-python")  # packages whose versions may affect the features


def feature_key(model: Model, dataset: Dataset, preprocess: Preprocess, decoding: Decoding, precision: Precision) -> str:
    """Return the cache key of the pooled features of a dataset. It depends on the order of the images.

    An image file is identified by its path, size, inode, modification time and status change time (ctime). The latter differs for a copy
    that preserves the modification time. Images in memory, generated or stored in larger files are identified by their pixels. Targets and
    the model's head don't affect the key.

    Args:
        model: model whose backbone computes the features.
        dataset: the dataset.
        preprocess: preprocessing of the images.
        decoding: how images are decoded.
        precision: precision of the backbone's matrix multiplications.
    """
    installed = versions()
    settings = {
        "format": _FORMAT,
        "trunk": trunk_fingerprint(model),
        "preprocess": preprocess.to_dict(),
        "decoding": asdict(dataset.decoding(decoding)),
        "precision": precision,
        "device": model.device.type,
        "versions": {name: installed.get(name) for name in _PACKAGES},
    }
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for line in _images(dataset.records):
        digest.update(line)
    return digest.hexdigest()[:32]


def _images(records: tuple[Record, ...]) -> Iterator[bytes]:
    folder = os.getcwd()
    for record in records:
        source = record.source
        if isinstance(source, Path):
            path = os.path.join(folder, source)
            try:
                found = os.stat(path)
                state = f"{found.st_size} {found.st_mtime_ns} {found.st_ctime_ns} {found.st_ino}"
            except OSError:  # the error is reported when the image is read
                state = "missing"
            yield f"{path}\0{state}\n".encode("utf-8", "surrogateescape")
        else:
            image = np.ascontiguousarray(source() if callable(source) else source)
            yield f"{image.shape}".encode() + hashlib.blake2b(image.data).digest()
