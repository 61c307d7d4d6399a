"""File format of pooled features.

A file contains an array in NumPy's format, the errors of unreadable images (JSON), and a checksum. `np.load` can read the array; it ignores
the data after the array.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zoo.errors import Fault

_DIGEST, _LENGTH = 32, 8  # sizes in bytes of the last two fields: the checksum, and before it the length of the JSON


@dataclass(frozen=True)
class FeatureRows:
    """Pooled features of a dataset."""

    rows: Tensor  # memory-mapped, [N, C] float32, one row per sample; NaN for samples that couldn't be read
    faults: Mapping[int, Fault]  # errors of these samples by position in the dataset
    engine: str = "eager"  # which computed the features; not stored in the file


def file_bytes(shape: tuple[int, int]) -> int:
    """Return the minimum size in bytes of a file with features [N, C]."""
    return len(_header(shape)) + 4 * shape[0] * shape[1] + _LENGTH + _DIGEST


def write_rows(file: BinaryIO, shape: tuple[int, int], blocks: Iterable[NDArray[np.float32]], faults: Mapping[int, Fault]) -> None:
    """Write features [N, C], given as blocks of consecutive rows, and the errors of unreadable samples by position, to an empty file.

    The errors are written last, so an iterator `blocks` may add to them while it computes the rows.
    """
    digest = hashlib.blake2b(digest_size=_DIGEST)

    def put(part: bytes) -> None:
        digest.update(part)
        file.write(part)

    put(_header(shape))
    for block in blocks:
        put(block.astype("<f4", copy=False).tobytes())
    notes = json.dumps({"faults": {position: [fault.key, fault.reason, fault.kind] for position, fault in faults.items()}}).encode()
    put(notes)
    put(len(notes).to_bytes(_LENGTH, "little"))
    file.write(digest.digest())
    file.flush()


def map_rows(file: BinaryIO, shape: tuple[int, int]) -> FeatureRows | None:
    """Map the features [N, C] of a file into memory; None if it is damaged or has another shape. The file may be closed afterwards."""
    header = _header(shape)
    begin, size = len(header), file.seek(0, 2)
    if size < file_bytes(shape):
        return None
    file.seek(0)
    digest, left = hashlib.blake2b(digest_size=_DIGEST), size - _DIGEST
    while left:
        part = file.read(min(left, 2**24))
        digest.update(part)
        left -= len(part)
    if file.read() != digest.digest():
        return None
    file.seek(0)
    if file.read(begin) != header:
        return None
    file.seek(size - _DIGEST - _LENGTH)
    length = int.from_bytes(file.read(_LENGTH), "little")
    file.seek(size - _DIGEST - _LENGTH - length)
    notes = json.loads(file.read(length))
    faults = {int(place): Fault(key, reason, True, kind) for place, (key, reason, kind) in notes["faults"].items()}
    # copy-on-write mode, because torch warns about read-only memory; the features are never modified
    rows = np.memmap(file, dtype="<f4", mode="c", offset=begin, shape=shape)
    return FeatureRows(torch.from_numpy(rows), faults)


def _header(shape: tuple[int, int]) -> bytes:
    header = BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return header.getvalue()
