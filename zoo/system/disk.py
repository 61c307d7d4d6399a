"""Check of the free disk space before a run, and clear errors when a file can't be written."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from zoo.errors import InputError
from zoo.system.files import flush

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_GO_ON = "then continue with the same command and --resume: the last checkpoint on disk is complete"
ELSEWHERE = "or choose another folder with --out"
_OS_ERROR = re.compile(r"os error (\d+)")


class StorageError(InputError):
    """Error raised when a file can't be written because disk space or permission is missing."""


def tensor_bytes(content: Any) -> int:
    """Return the total size in bytes of the tensors in nested dicts and lists."""
    if isinstance(content, torch.Tensor):
        return content.numel() * content.element_size()
    parts: Iterable[Any] = content.values() if isinstance(content, Mapping) else content if isinstance(content, list | tuple) else ()
    return sum(tensor_bytes(part) for part in parts)


def save_tensors(tensors: dict[str, torch.Tensor], path: Path) -> None:
    """Write contiguous CPU tensors to a safetensors file, and flush it to disk."""
    try:
        save_file(tensors, path)
    except SafetensorError as error:  # contains the operating system's error number only in its text
        number = _OS_ERROR.search(str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error
    flush(path)


def in_words(size: int) -> str:
    """Format a size in bytes for display, such as "12.3 MB"."""
    return f"{size / 1_000_000:,.1f} MB"


def check_room(folder: Path, needed: int) -> None:
    """Raise a `StorageError` if the disk of an existing folder has less than `needed` bytes of free space."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise StorageError(
            f"{folder}: {in_words(free)} are free, but the run's checkpoints need about {in_words(needed)}; free some space, {ELSEWHERE}"
        )


@contextlib.contextmanager
def storing(path: Path, size: int = 0, remedy: str = _GO_ON) -> Iterator[None]:
    """Convert write errors in the body into a `StorageError` that names the file or folder, the bytes it needs (if many) and the remedy."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        # after a write error, torch.save raises a RuntimeError; the original OSError is its context
        cause = error if isinstance(error, OSError) else error.__context__
        if not isinstance(cause, OSError):
            raise
        reason = cause.strerror or str(cause)
        if cause.errno in _FULL:
            needs = f"it needs about {in_words(size)}, " if size else ""
            folder = next(parent for parent in (path, *path.absolute().parents) if parent.is_dir())  # path may not exist yet
            free = in_words(shutil.disk_usage(folder).free)
            cure = f"{needs}{free} are free. Free some space (or raise the quota or the file size limit)"
        else:
            cure = "check the permissions and that the disk is writable"
        raise StorageError(f"{path}: can't be written ({reason}); {cure}, {remedy}") from error
