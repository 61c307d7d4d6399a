"""Where the zoo keeps what it can compute again, within bounds.

The folder is `$ZOO_CACHE`, else `resnet-zoo` in `$XDG_CACHE_HOME` or in the platform's own place for caches (`~/.cache`,
`~/Library/Caches`, `%LOCALAPPDATA%`). It may be deleted at any time, whole or in part, while the zoo works too: that is how it is cleared.
What reads from it makes again what is gone.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Collection
from pathlib import Path

from zoo.system.folders import user_folder

LIMIT_BYTES = 8 * 2**30  # of a kind of content: what hasn't been used for longest goes first
_DRAFT_SECONDS = 24 * 3600  # a draft this old belongs to a process that was killed


def cache_folder(kind: str) -> Path:
    """Return the folder for a kind of content; it need not exist."""
    if os.environ.get("ZOO_CACHE"):
        return Path(os.environ["ZOO_CACHE"]).expanduser() / kind
    return user_folder("CACHE", mac="Caches", other=".cache") / kind


def mark_used(path: Path) -> None:
    """Note that a file was used now."""
    with contextlib.suppress(OSError):  # a cache that can be read alone is good too
        os.utime(path)


def shrink(folder: Path, limit: int, keep: Collection[Path]) -> None:
    """Delete what hasn't been used for longest, until the files of a folder are within a limit, and drafts of killed processes.

    Args:
        folder: of `cache_folder`.
        limit: in bytes.
        keep: files that stay, whatever they take; they count like the others.
    """
    found = []
    try:
        paths = list(folder.iterdir())
    except FileNotFoundError:  # cleared just now
        return
    for path in paths:
        with contextlib.suppress(FileNotFoundError):  # another process may be shrinking it too
            found.append((path.stat().st_mtime, path.stat().st_size, path))
    total = sum(size for _, size, _ in found)
    for used, size, path in sorted(found):
        abandoned = path.name.startswith(".") and time.time() - used > _DRAFT_SECONDS
        if path not in keep and (abandoned or (total > limit and not path.name.startswith("."))):
            with contextlib.suppress(OSError):  # in use, on Windows
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
            total -= size
