"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from zoo.errors import InputError

_DRAFT = ".part"  # how the name of everything ends that is still being written


def write_atomic(path: Path, write: Callable[[BinaryIO], None], mode: int = 0o644) -> None:
    """Write a file beside its place, flush it to the disk, rename it into place, and flush the folder too.

    After a power cut there is the old file or the new one, and after this function has returned it is the new one.

    Args:
        path: where the file is to appear; an older one is replaced.
        write: writes the content.
        mode: who may read and write it.

    Raises:
        OSError: no room, no permission; what stood at `path` is untouched then.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}-", suffix=_DRAFT, dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, mode)
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):  # a disk that has become read-only: what went wrong first is what is said
            os.unlink(name)
        raise
    flush(path.parent)


def flush(path: Path) -> None:
    """Flush a file, or the names in a folder, to the disk."""
    folder = path.is_dir()
    if folder and os.name == "nt":
        return  # Windows can't open folders; its file systems keep a journal of names themselves
    handle = os.open(path, os.O_RDONLY if folder else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove_drafts(folder: Path) -> list[str]:
    """Remove what processes that were killed have left half-written in a folder; nothing may be being written there now.

    Returns:
        The names of what was removed.
    """
    found = sorted(path for path in folder.glob(f".*{_DRAFT}*") if path.name.endswith((_DRAFT, f"{_DRAFT}-old")))
    for path in found:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    return [path.name for path in found]


def write_text(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a UTF-8 text file that appears whole or not at all."""
    write_atomic(path, lambda file: _write(file, text), mode)


def _write(file: BinaryIO, text: str) -> None:
    file.write(text.encode("utf-8"))


def refuse_others(folder: Path, own: Collection[str]) -> None:
    """Refuse to replace a folder that holds files of somebody else.

    Args:
        folder: that is to be replaced.
        own: what was written there, relative to it.

    Raises:
        InputError: it holds another file.
    """
    for path in sorted(folder.rglob("*")):
        if not path.is_dir() and path.relative_to(folder).as_posix() not in own:
            raise InputError(f"{folder} holds {path.relative_to(folder)}, which isn't of the zoo; choose another place, or take it out")


def check_replaceable(folder: Path, marker: str) -> None:
    """Refuse a place that is taken.

    Args:
        folder: that is to be written.
        marker: the file by which an older one of the same kind is known.

    Raises:
        InputError: there is something else.
    """
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not (folder / marker).is_file())):
        raise InputError(f"{folder} exists and holds no {marker}; choose another place, it will not be overwritten")


@contextmanager
def draft_folder(folder: Path, marker: str) -> Iterator[Path]:
    """Write a folder beside its place, and move it there when everything has gone well.

    Args:
        folder: where it is to appear.
        marker: the file by which an older one of the same kind is known, which is replaced; anything else is not touched.

    Yields:
        The draft, to be written into.

    Raises:
        InputError: the place is taken by something else.
    """
    check_replaceable(folder, marker)
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", suffix=_DRAFT, dir=folder.parent))
    try:
        draft.chmod(0o755)
        yield draft
        if folder.exists():
            # a folder with content can't be renamed over: the old one steps aside first
            os.rename(folder, draft.with_name(draft.name + "-old"))
        os.rename(draft, folder)
        flush(folder.parent)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        shutil.rmtree(draft.with_name(draft.name + "-old"), ignore_errors=True)
