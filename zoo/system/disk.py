"""Room on the disk: looked at before it is needed, and said clearly where it runs out."""

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
_MB = 1_000_000
GO_ON = "then continue with the same command and --resume: the last checkpoint that was written is whole"
ELSEWHERE = "or choose another place with --out"
_OS_ERROR = re.compile(r"os error (\d+)")


class StorageError(InputError):
    """A file of a run can't be written: no room, no permission."""


def tensor_bytes(content: Any) -> int:
    """Return what the tensors in nested dicts and lists take, in bytes."""
    if isinstance(content, torch.Tensor):
        return content.numel() * content.element_size()
    parts: Iterable[Any] = content.values() if isinstance(content, Mapping) else content if isinstance(content, list | tuple) else ()
    return sum(tensor_bytes(part) for part in parts)


def save_tensors(tensors: dict[str, torch.Tensor], path: Path) -> None:
    """Write a safetensors file, and flush it to the disk.

    Args:
        tensors: on the CPU, contiguous.
        path: the file.

    Raises:
        OSError: no room, no permission.
    """
    try:
        save_file(tensors, path)
    except SafetensorError as error:  # tells the system's reason in words alone
        number = _OS_ERROR.search(str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error
    flush(path)


def in_words(size: int) -> str:
    """Return a size as people read it: 12.3 MB."""
    return f"{size / _MB:,.1f} MB"


def check_room(folder: Path, needed: int) -> None:
    """Look whether a run has room.

    Args:
        folder: it exists.
        needed: bytes.

    Raises:
        StorageError: less is free.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise StorageError(
            f"{folder}: {in_words(free)} are free there, and the run's checkpoints need about {in_words(needed)}; make room, {ELSEWHERE}"
        )


@contextlib.contextmanager
def storing(path: Path, size: int = 0, remedy: str = GO_ON) -> Iterator[None]:
    """Say clearly what went wrong when a file of a run could not be written.

    Args:
        path: the file or folder.
        size: what it takes, in bytes; 0 for next to nothing.
        remedy: what to do when the cause has been removed, or instead.

    Raises:
        StorageError: naming the file, what it needs and what to do.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:
        # torch.save's writer fails on its own account when the file beneath it has failed
        cause = error if isinstance(error, OSError) else error.__context__
        if not isinstance(cause, OSError):
            raise
        reason = cause.strerror or str(cause)
        if cause.errno in _FULL:
            needs = f"it needs about {in_words(size)}, " if size else ""
            cure = f"{needs}{_free(path)} are free. Make room (or raise the quota or the limit of a file's size)"
        else:
            cure = "check the permissions and that the disk can be written to"
        raise StorageError(f"{path}: can't be written ({reason}); {cure}, {remedy}") from error


def _free(path: Path) -> str:
    """Return what is free where a file would be, in words."""
    folder = next(parent for parent in (path, *path.absolute().parents) if parent.is_dir())
    return in_words(shutil.disk_usage(folder).free)
