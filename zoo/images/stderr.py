"""Capture of the standard error of C libraries.

When OpenCV decodes an image, libjpeg and libtiff report damage only on standard error. When it opens a stream, so does FFmpeg.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
import threading
from collections.abc import Iterator

_LOCK = threading.Lock()
_OURS = (
    b"Corrupt JPEG", b"Premature end", b"Inconsistent progression", b"Invalid ", b"Unknown ", b"Warning", b"libpng", b"[ WARN", b"[ERROR",
)  # fmt: skip
_FFMPEG = re.compile(rb"\[\w+ @ 0x")
_STDERR = 2


# A file in memory: a pipe would block when it is full, or writing to it would fail, after which the C++ stream of OpenCV's log, std::cerr,
# is silent for the rest of the process.
_FILE: list[int] = []


def _open_file() -> int:
    """Return the descriptor of the file, which is created on first use and empty."""
    if not _FILE:
        if hasattr(os, "memfd_create"):
            _FILE.append(os.memfd_create("stderr"))
        else:
            with tempfile.TemporaryFile() as file:
                _FILE.append(os.dup(file.fileno()))
    return _FILE[0]


def _emptied(file: int) -> bytes:
    """Return the content of the file, and empty it."""
    size = os.lseek(file, 0, os.SEEK_CUR)
    if not size:
        return b""
    content = os.pread(file, size, 0)
    os.lseek(file, 0, os.SEEK_SET)
    os.ftruncate(file, 0)
    return content


def _after_fork_in_child() -> None:
    for file in _FILE:  # with a shared file, the messages of parent and child would mix
        os.close(file)
    _FILE.clear()
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
        file = _open_file()
        os.dup2(file, _STDERR)
        try:
            yield lines
        finally:
            os.dup2(saved, _STDERR)
            written = _emptied(file)
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
    except OSError:  # a service without standard error: open the null device there, otherwise the file could get descriptor 2
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, _STDERR)
        return null if null != _STDERR else os.dup(null)
