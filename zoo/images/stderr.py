"""Catches what C libraries print to standard error: the only way in which libjpeg and libtiff report damage through OpenCV."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_LOCK = threading.Lock()
_OURS = (
    b"Corrupt JPEG", b"Premature end", b"Inconsistent progression", b"Invalid ", b"Unknown ", b"Warning", b"libpng", b"[ WARN", b"[ERROR",
)  # fmt: skip
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

    One thread at a time may be inside, so that a message belongs to the picture being decoded; to decode several at a time takes
    processes. What another thread wrote in the meantime is passed on as it was.
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
            written = _drain(reading)
            lines += [line for line in written.decode(errors="replace").splitlines() if line.strip()]
            if written and threading.active_count() > 1:
                # a bar is drawn without an end of line, and with signs that would be lost as text
                others = [line for line in written.splitlines(keepends=True) if line != b"\n" and not line.startswith(_OURS)]
                os.write(_STDERR, b"".join(others))
            os.close(saved)


def _duplicate_stderr() -> int:
    try:
        return os.dup(_STDERR)
    except OSError:  # a service without standard error: it gets an empty one, or the pipe might be given its number
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, _STDERR)
        return null if null != _STDERR else os.dup(null)


def _drain(reading: int) -> bytes:
    chunks = []
    while True:
        try:
            chunks.append(os.read(reading, 65536))
        except BlockingIOError:
            break
    return b"".join(chunks)
