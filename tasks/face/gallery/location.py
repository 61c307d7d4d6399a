"""Where a gallery is: a file, or a database's address."""

from __future__ import annotations

import os
import re
from pathlib import Path

from zoo.errors import InputError
from zoo.system.folders import user_folder
from zoo.tasks.face.gallery.sqlite.store import SqliteStore
from zoo.tasks.face.gallery.store import Store

_SERVERS = ("postgresql://", "postgres://")


def default_place() -> str:
    """Return the gallery of the command line: `$ZOO_GALLERY`, else `resnet-zoo/faces.gallery` where the platform keeps a user's data.

    That is `$XDG_DATA_HOME` or `~/.local/share`, `~/Library/Application Support`, `%LOCALAPPDATA%`. It is no cache: faces that are
    deleted there must be enrolled anew.
    """
    if os.environ.get("ZOO_GALLERY"):
        return os.environ["ZOO_GALLERY"]
    return str(user_folder("DATA", mac="Application Support", other=".local/share") / "faces.gallery")


def open_store(place: str | Path) -> Store:
    """Return the store at a path or `postgresql://` address.

    Raises:
        InputError: another kind of address, or a folder.
    """
    if isinstance(place, str) and place.startswith(_SERVERS):
        from zoo.tasks.face.gallery.postgres.store import PostgresStore

        return PostgresStore(place)
    text = str(place)
    if "://" in text or text.startswith(("postgresql:/", "postgres:/")) or re.match(r"(host|dbname|user|port|service) *=", text):
        kind = f"{text.split('://')[0]}://" if "://" in text else "of an address"
        raise InputError(f"gallery {kind}…: expected a file, or an address that begins with {_SERVERS[0]}")
    path = Path(place).expanduser()
    try:
        folder = path.is_dir()
    except OSError as error:  # a name that is too long
        raise InputError(
            f"gallery {text[:40]!r}…: can't be a file's name ({error.strerror}); expected a file, such as faces.gallery"
        ) from error
    if not text or folder:
        raise InputError(f"gallery {text!r}: expected a file, such as faces.gallery; this is a folder")
    return SqliteStore(path)
