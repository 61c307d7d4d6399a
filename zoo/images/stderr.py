"""Capture of standard error of C libraries: the only way in which libjpeg and libtiff report damage through OpenCV."""

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
    """A pipe whose writer never blocks; what exceeds its capacity (64 KiB) is lost."""

    def __init__(self) -> None:
        self.ends: tuple[int, int] | None = None

    def open(self) -> tuple[int, int]:
        """Return the reading and the writing end, which are created on first use."""
        if self.ends is None:
            self.ends = os.pipe()
            for end in self.ends:
                os.set_blocking(end, False)
        return self.ends

    def forget(self) -> None:
        """Close the pipe in a forked child: if it were shared with the parent, their messages would mix."""
        if self.ends is not None:
            for end in self.ends:
                os.close(end)
            self.ends = None


_PIPE = _Pipe()


def _after_fork_in_child() -> None:
    _PIPE.forget()
    _LOCK.release()


# no process may be forked while standard error is redirected: it would stay redirected in the child
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_LOCK.acquire, after_in_parent=_LOCK.release, after_in_child=_after_fork_in_child)


@contextmanager
def caught() -> Iterator[list[str]]:
    """Capture what native code writes to standard error in the body; the yielded list contains the lines afterwards.

    Only one thread at a time may be in the body, so that each message belongs to the image being decoded; decoding several images at a time
    requires processes. Output of other threads in the meantime is passed on unchanged.
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
                # passed on as bytes: progress bars are drawn without newlines, and with characters that decoding would lose
                others = [line for line in written.splitlines(keepends=True) if line != b"\n" and not line.startswith(_OURS)]
                os.write(_STDERR, b"".join(others))
            os.close(saved)


def _duplicate_stderr() -> int:
    try:
        return os.dup(_STDERR)
    except OSError:  # a service without standard error: open a null device, otherwise the pipe could get its descriptor
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
