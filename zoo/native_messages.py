"""Catches what C libraries print to standard error: the only way in which libjpeg and libtiff report damage through OpenCV."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_LOCK = threading.Lock()
_OURS = ("Corrupt JPEG", "Premature end", "Inconsistent progression", "Invalid ", "Unknown ", "Warning", "libpng", "[ WARN", "[ERROR")
_STDERR = 2


class _Pipe:
    """A pipe that never blocks its writer; what doesn't fit (64 KiB) is lost."""

    def __init__(self) -> None:
        self.ends: tuple[int, int] | None = None

    def open(self) -> tuple[int, int]:
        """Return the reading and the writing end, made at first use."""
        if self.ends is None:
            self.ends = os.pipe()
            for end in self.ends:
                os.set_blocking(end, False)
        return self.ends

    def forget(self) -> None:
        """In a forked child: a pipe shared with the parent would mix up their messages."""
        if self.ends is not None:
            for end in self.ends:
                os.close(end)
            self.ends = None


_PIPE = _Pipe()


def _after_fork_in_child() -> None:
    _PIPE.forget()
    _LOCK.release()


# no process may be forked while standard error is away: the child would keep it so
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_LOCK.acquire, after_in_parent=_LOCK.release, after_in_child=_after_fork_in_child)


@contextmanager
def caught() -> Iterator[list[str]]:
    """Take standard error away from native code for a moment; the lines are in the yielded list afterwards.

    One thread at a time may be inside, so that a message belongs to the picture being decoded; decode in several processes
    rather than threads. Lines that another thread wrote in the meantime are passed on.
    """
    lines: list[str] = []
    with _LOCK:
        saved = _duplicate_stderr()
        reading, writing = _PIPE.open()
        os.dup2(writing, _STDERR)
        try:
            yield lines
        finally:
            os.dup2(saved, _STDERR)
            lines += _drain(reading)
            others = [line for line in lines if not line.startswith(_OURS)]
            if others and threading.active_count() > 1:
                os.write(_STDERR, ("\n".join(others) + "\n").encode())
            os.close(saved)


def _duplicate_stderr() -> int:
    try:
        return os.dup(_STDERR)
    except OSError:  # a service without standard error: it gets an empty one, or the pipe might be given its number
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, _STDERR)
        return null if null != _STDERR else os.dup(null)


def _drain(reading: int) -> list[str]:
    chunks = []
    while True:
        try:
            chunks.append(os.read(reading, 65536))
        except BlockingIOError:
            break
    return [line for line in b"".join(chunks).decode(errors="replace").splitlines() if line.strip()]
