"""Location of a gallery: a file, or the address of a database."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.errors import InputError
from zoo.system.cache import user_folder
from zoo.tasks.face.gallery.sqlite.store import SqliteStore

if TYPE_CHECKING:
    from zoo.tasks.face.gallery.postgres.store import PostgresStore

_SERVERS = ("postgresql://", "postgres://")


def default_place() -> str:
    """Return the default gallery of the commands: `$ZOO_GALLERY`, otherwise `resnet-zoo/faces.gallery` in the user data folder.

    That folder is `$XDG_DATA_HOME` or `~/.local/share`, `~/Library/Application Support`, or `%LOCALAPPDATA%`. It is not a cache: faces
    deleted there must be enrolled again.
    """
    if os.environ.get("ZOO_GALLERY"):
        return os.environ["ZOO_GALLERY"]
    return str(user_folder("DATA", mac="Application Support", other=".local/share") / "faces.gallery")


def open_store(place: str | Path) -> SqliteStore | PostgresStore:
    """Return the store for a path or a `postgresql://` address."""
    if isinstance(place, str) and place.startswith(_SERVERS):
        from zoo.tasks.face.gallery.postgres.store import PostgresStore

        return PostgresStore(place)
    text = str(place)
    if "://" in text or text.startswith(("postgresql:/", "postgres:/")) or re.match(r"(host|dbname|user|port|service) *=", text):
        kind = f"{text.split('://')[0]}://" if "://" in text else "address"
        raise InputError(f"gallery {kind}…: expected a file, or an address that begins with {_SERVERS[0]}")
    path = Path(place).expanduser()
    try:
        folder = path.is_dir()
    except OSError as error:  # a name that is too long
        raise InputError(
            f"gallery {text[:40]!r}…: not a valid file name ({error.strerror}); expected a file, such as faces.gallery"
        ) from error
    if not text or folder:
        raise InputError(f"gallery {text!r}: expected a file, such as faces.gallery; this is a folder")
    return SqliteStore(path)
