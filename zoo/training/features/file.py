"""A file of pooled features: a NumPy array, the pictures that could not be read, what computed it, and a checksum of all.

`np.load` reads the array; what stands behind it, it doesn't look at.
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

_DIGEST, _LENGTH = 32, 8  # bytes at the end: of everything before, and of the length of the notes


@dataclass(frozen=True)
class FeatureRows:
    """What a file holds.

    Attributes:
        rows: [N, C] float32, one row per sample of the data, mapped into memory.
        faults: position of each sample that could not be read, whose row is NaN, to what is wrong with it.
        engine: the engine that computed them; not stored in the file.
    """

    rows: Tensor
    faults: Mapping[int, Fault]
    engine: str = "eager"


def file_bytes(shape: tuple[int, int]) -> int:
    """Return about how large a file of this many samples and channels is."""
    return len(_header(shape)) + 4 * shape[0] * shape[1] + _LENGTH + _DIGEST


def write_rows(
    file: BinaryIO,
    shape: tuple[int, int],
    blocks: Iterable[NDArray[np.float32]],
    faults: Mapping[int, Fault],
) -> None:
    """Write a file.

    Args:
        file: empty.
        shape: [N, C] of all blocks together.
        blocks: the rows, in order; made while they are written.
        faults: as in `FeatureRows`; read when the blocks are through.

    Raises:
        OSError: no room.
    """
    digest = hashlib.blake2b(digest_size=_DIGEST)

    def put(part: bytes) -> None:
        digest.update(part)
        file.write(part)

    put(_header(shape))
    for block in blocks:
        put(block.astype("<f4", copy=False).tobytes())
    notes = {"faults": {position: [fault.key, fault.reason, fault.kind] for position, fault in faults.items()}}
    said = json.dumps(notes).encode()
    put(said)
    put(len(said).to_bytes(_LENGTH, "little"))
    file.write(digest.digest())
    file.flush()


def map_rows(file: BinaryIO, shape: tuple[int, int]) -> FeatureRows | None:
    """Map a file into memory, after checking every byte of it.

    Args:
        file: open for reading; it may be closed afterwards.
        shape: [N, C] that it should have.

    Returns:
        None where the file is damaged, cut short, or of something else.
    """
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
    # copy on write: torch shares memory that can be written to, and nobody writes
    rows = np.memmap(file, dtype="<f4", mode="c", offset=begin, shape=shape)
    return FeatureRows(torch.from_numpy(rows), faults)


def _header(shape: tuple[int, int]) -> bytes:
    header = BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return header.getvalue()
