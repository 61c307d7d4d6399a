"""Per-thread reuse of the memory of large arrays.

The operating system maps new memory page by page, which takes longer than filling it.
"""

from __future__ import annotations

import gc
import math
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

_LEAST, _MOST = 2**20, 2**28  # bytes; smaller arrays are fast to allocate, and larger blocks are not kept
_SPARE = 4  # a block may be at most this many times as large as the requested array
_BLOCKS = 2  # blocks kept for each purpose: an engine holds its last input until it receives the next one

_Block = list[NDArray[np.uint8]]  # a list of one array, so that nothing else refers to the array while its users are counted


def _users(block: _Block) -> int:
    return sys.getrefcount(block[0])


_UNUSED = _users([np.empty(0, np.uint8)])
_kept = threading.local()


def reused(purpose: str, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Return an uninitialised array, reusing memory if possible.

    The array is a view of a memory block that may be up to four times as large. A block that this thread has allocated for the same purpose
    is reused if no array or tensor refers to it any more; otherwise a new block is allocated. The last two blocks for each purpose are kept
    as long as the thread lives. Blocks larger than 256 MiB are not kept.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if not _LEAST <= size <= _MOST:
        return np.empty(shape, dtype)
    blocks: list[_Block] = vars(_kept).setdefault(purpose, [])
    free = [block for block in blocks if size <= len(block[0]) <= _SPARE * size and _users(block) == _UNUSED]
    if not free:
        free = [[np.empty(size, np.uint8)]]
        blocks[:] = [*free, *blocks[: _BLOCKS - 1]]
    return free[0][0][:size].view(dtype).reshape(shape)


@contextmanager
def no_collector() -> Iterator[None]:
    """Disable Python's cyclic garbage collector in the body.

    While hundreds of thousands of annotations are read, the collector would traverse them repeatedly, which doubles the time.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
