"""On-disk cache of limited size for data that can be computed again.

The folder is `$ZOO_CACHE`, otherwise `resnet-zoo` in `$XDG_CACHE_HOME` or in the platform's cache folder (`~/.cache`,
`~/Library/Caches`, `%LOCALAPPDATA%`). To clear the cache, delete the folder or parts of it; this is safe at any time, even while the
zoo is running. Readers recompute missing entries.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Collection
from pathlib import Path

from zoo.system.folders import user_folder

LIMIT_BYTES = 8 * 2**30  # per kind of content; the least recently used files are deleted first
_DRAFT_SECONDS = 24 * 3600  # older drafts were left behind by killed processes


def cache_folder(kind: str) -> Path:
    """Return the cache folder for a kind of content; it may not exist yet."""
    if os.environ.get("ZOO_CACHE"):
        return Path(os.environ["ZOO_CACHE"]).expanduser() / kind
    return user_folder("CACHE", mac="Caches", other=".cache") / kind


def mark_used(path: Path) -> None:
    """Mark a cached file as recently used by updating its modification time."""
    with contextlib.suppress(OSError):  # a read-only cache works, too
        os.utime(path)


def shrink(folder: Path, limit: int, keep: Collection[Path]) -> None:
    """Delete the least recently used files until a folder is within its size limit, and drafts left behind by killed processes.

    Args:
        folder: folder returned by `cache_folder`.
        limit: maximum total size in bytes.
        keep: files that are never deleted, but count towards the total size.
    """
    found = []
    try:
        paths = list(folder.iterdir())
    except FileNotFoundError:  # the cache has just been cleared
        return
    for path in paths:
        with contextlib.suppress(FileNotFoundError):  # another process may be shrinking the same folder
            found.append((path.stat().st_mtime, path.stat().st_size, path))
    total = sum(size for _, size, _ in found)
    for used, size, path in sorted(found):
        abandoned = path.name.startswith(".") and time.time() - used > _DRAFT_SECONDS
        if path not in keep and (abandoned or (total > limit and not path.name.startswith("."))):
            with contextlib.suppress(OSError):  # the file is in use (Windows)
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
            total -= size
