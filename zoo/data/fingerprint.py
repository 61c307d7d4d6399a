"""Fingerprints of datasets and files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.data.dataset import Dataset, Record

_LENGTH = 16  # hexadecimal digits: 64 bits


def data_fingerprint(dataset: Dataset) -> str:
    """Return a fingerprint of a dataset's keys, images, targets and classes. It doesn't depend on the order of the samples.

    Images are identified by the content of their files, so a copy of the dataset in another location has the same fingerprint. An image
    that can't be read counts as missing. Evaluation reports it separately.
    """
    lines = (f"{record.key}\t{_picture(record)}\t{_target(record.target)}" for record in dataset.records)
    return _with_classes(dataset, sorted(lines))


def manifest_fingerprint(dataset: Dataset) -> str:
    """Return a fingerprint of a dataset's classes, keys and targets in order, on which the sampling of batches depends; read no images."""
    return _with_classes(dataset, (f"{record.key}\t{_target(record.target)}" for record in dataset.records))


def _with_classes(dataset: Dataset, lines: Iterable[str]) -> str:
    text = "\n".join([json.dumps(list(dataset.classes)), *lines])
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_LENGTH]


def file_fingerprint(path: Path) -> str:
    """Return a fingerprint of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()[:_LENGTH]


def content_fingerprint(data: bytes | memoryview) -> str:
    """Return the fingerprint of a file with this content."""
    return hashlib.blake2b(data).hexdigest()[:_LENGTH]


def _picture(record: Record) -> str:
    content = _content(record.source, record.key)
    return content if record.bands is None else f"{content} bands {record.bands}"


def _content(source: Any, key: str) -> str:
    if isinstance(source, Path):
        try:
            return file_fingerprint(source)
        except OSError:
            return "missing"
    if callable(source):  # the image is generated on demand, or unpacked on demand from a file that has already been read
        return str(getattr(source, "fingerprint", f"made of {key}"))
    return content_fingerprint(np.ascontiguousarray(source).tobytes())


def _target(target: Any) -> str:
    if isinstance(target, Mapping):
        parts = ((name, np.asarray(value)) for name, value in sorted(target.items()))
        return hashlib.blake2b(
            b"".join(f"{name} {value.dtype} {value.shape} ".encode() + _bytes(value) for name, value in parts)
        ).hexdigest()[:_LENGTH]
    if isinstance(target, np.ndarray):
        return hashlib.blake2b(f"{target.dtype} {target.shape} ".encode() + target.tobytes()).hexdigest()[:_LENGTH]
    return repr(target)


def _bytes(values: NDArray[Any]) -> bytes:
    return repr(values.tolist()).encode() if values.dtype == object else values.tobytes()  # the bytes of objects are addresses
