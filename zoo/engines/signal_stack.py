"""Keeps the stack that signal handlers run on, where a library would leave one of its own that it takes away later."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager


class _Stack(ctypes.Structure):
    """`stack_t` as Linux has it."""

    _fields_ = (("sp", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


@contextmanager
def signal_stack_kept() -> Iterator[None]:
    """Give the thread its alternate signal stack back afterwards.

    OpenVINO's CPU plugin sets up a stack of its own for the thread that it is made in, and unmaps it when its last model is dropped. Where
    another thread, of a loader for instance, drops that, the first is left with a stack that is no more: the next signal, a Ctrl-C, ends
    the process with a segmentation fault. (Seen with OpenVINO 2026.) The stack of before does as well: the kernel takes it back only if it
    is large enough for the registers that are in use by now; where it isn't, or there are other ways than Linux's, nothing is changed.
    """
    if sys.platform != "linux":
        yield
        return
    sigaltstack = ctypes.CDLL(None).sigaltstack
    before = _Stack()
    known = sigaltstack(None, ctypes.byref(before)) == 0
    try:
        yield
    finally:
        if known:
            sigaltstack(ctypes.byref(before), None)
