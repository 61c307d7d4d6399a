"""Large arrays in memory that a thread has had before: fresh memory comes page by page, which takes longer than filling it."""

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

_LEAST, _MOST = 2**20, 2**28  # bytes: less comes quickly from elsewhere, and more isn't kept
_SPARE = 4  # times what is asked for: a larger block isn't given for it
_BLOCKS = 2  # of each purpose: an engine has its last input until it gets another

_Block = list[NDArray[np.uint8]]  # of one, so that nothing else has to hold it when its users are counted


def _users(block: _Block) -> int:
    return sys.getrefcount(block[0])


_NOBODY = _users([np.empty(0, np.uint8)])
_kept = threading.local()


def reused(purpose: str, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Return an array with anything in it.

    Its memory is what this thread had for the same purpose before, if nobody has an array or a tensor on that any more, and is fresh
    otherwise. The last two blocks of each purpose are kept as long as the thread lives, none of more than 256 MiB; an array is a view of
    a block that may be four times as large.

    Args:
        purpose: blocks of memory are kept for each.
        shape: of the array.
        dtype: likewise.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if not _LEAST <= size <= _MOST:
        return np.empty(shape, dtype)
    blocks: list[_Block] = vars(_kept).setdefault(purpose, [])
    free = [block for block in blocks if size <= len(block[0]) <= _SPARE * size and _users(block) == _NOBODY]
    if not free:
        free = [[np.empty(size, np.uint8)]]
        blocks[:] = [*free, *blocks[: _BLOCKS - 1]]
    return free[0][0][:size].view(dtype).reshape(shape)


@contextmanager
def no_collector() -> Iterator[None]:
    """Switch the collector off: it would walk over hundreds of thousands of annotations again and again (twice the time)."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
