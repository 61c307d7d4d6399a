"""Location of a gallery: the path of a file, or the address of a database."""

from __future__ import annotations

import os
import re
from pathlib import Path

from zoo.errors import InputError
from zoo.system.cache import user_folder
from zoo.tasks.face.gallery.postgres.store import PostgresStore
from zoo.tasks.face.gallery.sqlite.store import SqliteStore

_SERVERS = ("postgresql://", "postgres://")


def default_place() -> str:
    """Return the commands' default gallery: `$ZOO_GALLERY`, otherwise `resnet-zoo/faces.gallery` in the user's data folder.

    The data folder is `$XDG_DATA_HOME` or `~/.local/share` on Linux, `~/Library/Application Support` on macOS, and `%LOCALAPPDATA%` on
    Windows. It is not a cache folder, because a deleted gallery can't be recreated.
    """
    if os.environ.get("ZOO_GALLERY"):
        return os.environ["ZOO_GALLERY"]
    return str(user_folder("DATA", mac="Application Support", other=".local/share") / "faces.gallery")


def open_store(place: str | Path) -> SqliteStore | PostgresStore:
    """Return the store at the path of a file or at a `postgresql://` address."""
    if isinstance(place, str) and place.startswith(_SERVERS):
        return PostgresStore(place)
    text = str(place)
    if "://" in text or text.startswith(("postgresql:/", "postgres:/")) or re.match(r"(host|dbname|user|port|service) *=", text):
        kind = f"{text.split('://')[0]}://" if "://" in text else "address"
        raise InputError(f"gallery {kind}…: expected the path of a file, or an address that begins with {_SERVERS[0]}")
    path = Path(place).expanduser()
    try:
        is_folder = path.is_dir()
    except OSError as error:  # the name is too long
        raise InputError(
            f"gallery {text[:40]!r}…: the file name is invalid ({error.strerror}); expected the path of a file, such as faces.gallery"
        ) from error
    if not text or is_folder:
        raise InputError(f"gallery {text!r}: this is a folder; expected the path of a file, such as faces.gallery")
    return SqliteStore(path)
