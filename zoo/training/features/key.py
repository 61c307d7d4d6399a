"""By what features are known again: the content of the pictures, the trunk, and all that happens between them."""

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
from zoo.system.hardware import Precision
from zoo.system.versions import versions

if TYPE_CHECKING:
    from zoo.models.model import Model

_FORMAT = 3  # of the files; another number leaves the older ones aside
_PACKAGES = ("resnet-zoo", "torch", "torchvision", "timm", "opencv-python")  # that have a part in the numbers


def feature_key(model: Model, dataset: Dataset, preprocess: Preprocess, decoding: Decoding, precision: Precision) -> str:
    """Return a name for the pooled features of a data set's pictures, in their order.

    A picture in a file counts by the file's path, size, and times of the last change of its content and of its entry in the folder (a
    copy that keeps the first doesn't keep the second). Pictures in memory, drawn or unpacked, count by their pixels. Targets have no
    part in it.

    Args:
        model: whose trunk.
        dataset: the pictures.
        preprocess: how they are prepared.
        decoding: how they are read.
        precision: of the trunk's matrix work.
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
    for line in _pictures(dataset.records):
        digest.update(line)
    return digest.hexdigest()[:32]


def _pictures(records: tuple[Record, ...]) -> Iterator[bytes]:
    folder = os.getcwd()
    for record in records:
        source = record.source
        if isinstance(source, Path):
            path = os.path.join(folder, source)
            try:
                found = os.stat(path)
                state = f"{found.st_size} {found.st_mtime_ns} {found.st_ctime_ns} {found.st_ino}"
            except OSError:  # reading it will say what is wrong
                state = "missing"
            yield f"{path}\0{state}\n".encode("utf-8", "surrogateescape")
        else:
            image = np.ascontiguousarray(source() if callable(source) else source)
            yield f"{image.shape}".encode() + hashlib.blake2b(image.data).digest()
