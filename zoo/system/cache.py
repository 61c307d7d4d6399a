"""The user's folders, and an on-disk cache of limited size for data that can be recomputed.

The cache folder is `$ZOO_CACHE` if that is set. Otherwise it is the folder `resnet-zoo` in `$XDG_CACHE_HOME` or in the platform's cache
folder (`~/.cache`, `~/Library/Caches`, `%LOCALAPPDATA%`). To clear the cache, delete the folder or some of its content. This is safe at
any time, even while the zoo is running, because missing entries are recomputed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import time
from collections.abc import Collection
from pathlib import Path

LIMIT_BYTES = 8 * 2**30  # limit for each kind of content; the least recently used files are deleted first
_DRAFT_SECONDS = 24 * 3600  # drafts older than this were left behind by killed processes


def user_folder(kind: str, mac: str, other: str) -> Path:
    """Return the zoo's folder in `$XDG_<KIND>_HOME`, or in the platform's default location; it may not exist yet.

    The kind is "CACHE" for data that can be recomputed, and "DATA" for data that can't. The default location is the folder `mac` in
    `~/Library` on macOS, `%LOCALAPPDATA%` on Windows, and the folder `other` in the home folder elsewhere.
    """
    if os.environ.get(f"XDG_{kind}_HOME"):
        base = Path(os.environ[f"XDG_{kind}_HOME"])
    elif sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / mac
    else:
        base = Path.home() / other
    return base / "resnet-zoo"


def cache_folder(kind: str) -> Path:
    """Return the cache folder for a kind of content; it may not exist yet."""
    if os.environ.get("ZOO_CACHE"):
        return Path(os.environ["ZOO_CACHE"]).expanduser() / kind
    return user_folder("CACHE", mac="Caches", other=".cache") / kind


def mark_used(path: Path) -> None:
    """Mark a cached file as recently used by updating its modification time."""
    with contextlib.suppress(OSError):  # the cache may be read-only
        os.utime(path)


def shrink(folder: Path, limit: int, keep: Collection[Path]) -> None:
    """Delete the least recently used files until the files in a folder occupy at most `limit` bytes.

    Files in `keep` are never deleted. Drafts that killed processes have left behind are deleted as well.
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
