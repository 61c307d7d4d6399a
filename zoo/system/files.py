"""Atomic writing of files and folders: a file or folder appears complete or not at all."""

from __future__ import annotations

import codecs
import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from zoo.errors import DataError, InputError

_DRAFT = ".part"  # suffix of files and folders that are still being written


def write_atomic(path: Path, write: Callable[[BinaryIO], object], mode: int = 0o644) -> None:
    """Write a file atomically: write a draft in the same folder, flush it to disk, rename it into place, and flush the folder.

    After an error or a power failure, either the old or the new file exists. Once this function has returned, the new file exists.
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
        with contextlib.suppress(OSError):  # if the disk has become read-only, report the first error
            os.unlink(name)
        raise
    flush(path.parent)


def flush(path: Path) -> None:
    """Flush a file's content, or a folder's list of entries, to disk."""
    folder = path.is_dir()
    if folder and os.name == "nt":
        return  # Windows can't open folders; its file systems journal their entries
    handle = os.open(path, os.O_RDONLY if folder else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove_drafts(folder: Path) -> list[str]:
    """Remove the unfinished files and folders that killed processes have left in a folder, and return their names.

    Call this only while no other process is writing to the folder.
    """
    found = sorted(path for path in folder.glob(f".*{_DRAFT}*") if path.name.endswith((_DRAFT, f"{_DRAFT}-old")))
    for path in found:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return [path.name for path in found]


def read_text(path: Path) -> str:
    """Return the content of a text file of a dataset, in UTF-8, or in UTF-16 with a byte order mark. Raise a `DataError` if that fails."""
    try:
        data = path.read_bytes()
        return data.decode("utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not valid {error.encoding.upper()} ({error.reason} at byte {error.start}); save it as UTF-8") from None
    except OSError as error:
        raise DataError(f"can't read {path}: {error.strerror}") from None


def write_text(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a UTF-8 text file atomically."""
    write_atomic(path, lambda file: file.write(text.encode("utf-8")), mode)


def refuse_others(folder: Path, own: Collection[str]) -> None:
    """Raise an `InputError` if a folder to be replaced contains files that the zoo didn't write; `own` lists the zoo's relative paths."""
    for path in sorted(folder.rglob("*")):
        if not path.is_dir() and path.relative_to(folder).as_posix() not in own:
            raise InputError(
                f"{folder} contains {path.relative_to(folder)}, which the zoo didn't write; choose another folder, or move the file away"
            )


def check_replaceable(folder: Path, marker: str) -> None:
    """Raise an `InputError` if a path is a file or a non-empty folder without the file `marker`, which identifies replaceable folders."""
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not (folder / marker).is_file())):
        raise InputError(f"{folder} exists and contains no {marker}; choose another path, it will not be overwritten")


@contextmanager
def draft_folder(folder: Path, marker: str) -> Iterator[Path]:
    """Write a folder atomically: yield a draft folder next to the destination, and rename it into place if the body succeeds.

    An existing folder is replaced if it is empty or contains the file `marker`; see `check_replaceable`.
    """
    check_replaceable(folder, marker)
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", suffix=_DRAFT, dir=folder.parent))
    old = draft.with_name(f"{draft.name}-old")
    try:
        draft.chmod(0o755)
        yield draft
        if folder.exists():
            os.rename(folder, old)  # a non-empty folder can't be replaced by renaming
        os.rename(draft, folder)
        flush(folder.parent)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
