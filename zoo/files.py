"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from zoo.errors import InputError


def write_atomic(path: Path, write: Callable[[BinaryIO], None]) -> None:
    """Write a file beside its place, flush it to the disk, and rename it into place.

    Args:
        path: where the file is to appear; an older one is replaced.
        write: writes the content.

    Raises:
        OSError: no room, no permission; what stood at `path` is untouched then.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file that appears whole or not at all."""
    write_atomic(path, lambda file: _write(file, text))


def _write(file: BinaryIO, text: str) -> None:
    file.write(text.encode("utf-8"))


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
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not (folder / marker).is_file())):
        raise InputError(f"{folder} exists and holds no {marker}; choose another place, it will not be overwritten")
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        draft.chmod(0o755)
        yield draft
        if folder.exists():
            # a folder with content can't be renamed over: the old one steps aside first
            os.rename(folder, draft.with_name(draft.name + "-old"))
        os.rename(draft, folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        shutil.rmtree(draft.with_name(draft.name + "-old"), ignore_errors=True)
