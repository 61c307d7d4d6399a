"""Capture of the standard error of C libraries.

When OpenCV decodes an image, libjpeg and libtiff report damage only on standard error. When it opens a stream, so does FFmpeg.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
from collections.abc import Iterator

_LOCK = threading.Lock()
_OURS = (
    b"Corrupt JPEG", b"Premature end", b"Inconsistent progression", b"Invalid ", b"Unknown ", b"Warning", b"libpng", b"[ WARN", b"[ERROR",
)  # fmt: skip
_FFMPEG = re.compile(rb"\[\w+ @ 0x")
_STDERR = 2


_PIPE: list[int] = []  # reading and writing end; writing never blocks, and output beyond the capacity (64 KiB) is lost


def _open_pipe() -> list[int]:
    """Return the reading and the writing end of the pipe, which is created on first use."""
    if not _PIPE:
        _PIPE.extend(os.pipe())
        for end in _PIPE:
            os.set_blocking(end, False)
    return _PIPE


def _after_fork_in_child() -> None:
    for end in _PIPE:  # with a shared pipe, the messages of parent and child would mix
        os.close(end)
    _PIPE.clear()
    _LOCK.release()


# hold the lock while forking: if standard error were redirected at that time, it would stay redirected in the child
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_LOCK.acquire, after_in_parent=_LOCK.release, after_in_child=_after_fork_in_child)


@contextlib.contextmanager
def caught() -> Iterator[list[str]]:
    """Capture the output of native code to standard error in the body. After the body, the yielded list contains the lines.

    Only one thread at a time can execute the body, so that each message belongs to the image being decoded. Decoding several images
    simultaneously requires several processes. Output of other threads during this time is written to standard error afterwards, unchanged.
    """
    lines: list[str] = []
    with _LOCK:
        saved = _duplicate_stderr()
        reading, writing = _open_pipe()
        os.dup2(writing, _STDERR)
        try:
            yield lines
        finally:
            os.dup2(saved, _STDERR)
            written = b""
            with contextlib.suppress(BlockingIOError):
                while True:
                    written += os.read(reading, 65536)
            lines += [line for line in written.decode(errors="replace").splitlines() if line.strip()]
            if written and threading.active_count() > 1:
                # write bytes instead of text: progress bars have no newlines, and contain characters that decoding would lose
                others = [
                    line
                    for line in written.splitlines(keepends=True)
                    if line != b"\n" and not (line.startswith(_OURS) or _FFMPEG.match(line))
                ]
                os.write(_STDERR, b"".join(others))
            os.close(saved)


def _duplicate_stderr() -> int:
    try:
        return os.dup(_STDERR)
    except OSError:  # a service without standard error: open the null device there, otherwise the pipe could get descriptor 2
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, _STDERR)
        return null if null != _STDERR else os.dup(null)
