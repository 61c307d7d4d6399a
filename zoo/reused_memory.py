"""Large arrays in memory that a thread has had before: fresh memory comes page by page, which takes longer than filling it."""

from __future__ import annotations

import math
import sys
import threading
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

_LEAST, _MOST = 2**20, 2**28  # bytes: less comes quickly from elsewhere, and more isn't kept

_Block = list[NDArray[np.uint8]]  # of one, so that nothing else has to hold it when its users are counted


def _users(block: _Block) -> int:
    return sys.getrefcount(block[0])


_NOBODY = _users([np.empty(0, np.uint8)])
_kept = threading.local()


def reused(purpose: str, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Return an array with anything in it.

    Its memory is what this thread had for the same purpose before, if nobody has an array or a tensor on that any more, and is fresh
    otherwise: it can be kept as long as any other's.

    Args:
        purpose: a block of memory is kept for each.
        shape: of the array.
        dtype: likewise.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if not _LEAST <= size <= _MOST:
        return np.empty(shape, dtype)
    blocks: dict[str, _Block] = vars(_kept)
    if purpose not in blocks or len(blocks[purpose][0]) < size or _users(blocks[purpose]) > _NOBODY:
        blocks[purpose] = [np.empty(size, np.uint8)]
    return blocks[purpose][0][:size].view(dtype).reshape(shape)
