"""One SQLite file: opened for one transaction, with everything that can be wrong said by name.

A connection lives for one transaction, so a gallery may be used from several threads, and after a fork. Writers wait for each other
(`BEGIN IMMEDIATE`, up to `WAIT_SECONDS`). The journal is SQLite's own rollback journal and not the write-ahead log: it leaves one file
that can be copied, works on network disks and read-only ones, and has no second file in which deleted faces would live on; what
the log is good at – readers beside a long writer – is not needed where a search reads nothing but what is new. After a transaction
the journal is overwritten with zeros. A process that is killed leaves its journal, by which the next one that opens the file, to read
or to write, undoes the unfinished transaction; then that one is overwritten too.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

from zoo.tasks.face.gallery.errors import GalleryError

APPLICATION_ID = 0x7A666163  # "zfac"
SCHEMA = 1
WAIT_SECONDS = 30.0
_WIPED_BYTES = 2**20  # at once
_HEADER_BYTES = 100  # of SQLite's file format: 18 and 19 say whether there is a write-ahead log, 68 to 71 whose file it is
_PAGE_BYTES = 16384  # of 4096 bytes, a row of 512 numbers would fill one alone and waste the other half
_TABLES = (
    "CREATE TABLE gallery (one INTEGER PRIMARY KEY CHECK (one = 1), fingerprint TEXT NOT NULL, model TEXT NOT NULL, "
    "distance TEXT NOT NULL, threshold REAL, size INTEGER NOT NULL, epoch TEXT NOT NULL, checksum INTEGER NOT NULL)",
    "CREATE TABLE people (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, checksum INTEGER NOT NULL)",
    "CREATE TABLE faces (id INTEGER PRIMARY KEY AUTOINCREMENT, person INTEGER NOT NULL, "
    "embedding BLOB NOT NULL, checksum INTEGER NOT NULL, photo TEXT NOT NULL, quality TEXT NOT NULL, enrolled TEXT NOT NULL)",
    "CREATE INDEX faces_of_person ON faces (person)",
)


@contextlib.contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection | None]:
    """Yield a connection that sees one state of a gallery's file; None where there is no gallery yet.

    Raises:
        GalleryError: see `said`.
    """
    with said(path):
        if not os.path.lexists(path):
            yield None
            return
        _finish(path)
        with _connected(path) as connection:
            connection.execute("BEGIN")
            yield connection if _check(connection, path) else None


@contextlib.contextmanager
def writing(path: Path) -> Iterator[sqlite3.Connection]:
    """Yield a connection in a transaction that is committed at the end, or undone where something goes wrong; makes the file.

    Raises:
        GalleryError: see `said`.
    """
    with said(path):
        _make(path)
        with _alone(path) as (connection, exists):
            _shut(path)
            if not exists:
                for command in (*_TABLES, f"PRAGMA application_id = {APPLICATION_ID}", f"PRAGMA user_version = {SCHEMA}"):
                    connection.execute(command)
            yield connection
            connection.execute("COMMIT")


def compact(path: Path) -> None:
    """Write a gallery's file anew, without anything that was deleted.

    Raises:
        GalleryError: see `said`.
    """
    with said(path), _alone(path) as (connection, _):
        connection.execute("COMMIT")
        connection.execute("VACUUM")


@contextlib.contextmanager
def _alone(path: Path, wait: float | None = None) -> Iterator[tuple[sqlite3.Connection, bool]]:
    """Yield a connection in a transaction, which nobody else writes beside until it is closed, and whether it is of a gallery.

    The journal holds what stood in the file before. It is overwritten with zeros before others may write, and then removed: a file
    that is removed alone stays readable in the disk's free blocks.

    Raises:
        GalleryError: the file holds something else, or a newer gallery.
    """
    with _connected(path, wait) as connection:
        connection.execute("BEGIN IMMEDIATE")
        exists = _check(connection, path)
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")  # no lock is let go with the transaction
        try:
            yield connection, exists
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            _wipe(_journal(path))


def _finish(path: Path) -> None:
    """Undo what a killed process has left unfinished, and overwrite its journal; that of one that is writing is left alone.

    Raises:
        GalleryError: as `_alone`.
    """
    if not _journal(path).exists():
        return
    with contextlib.suppress(sqlite3.OperationalError, PermissionError), _alone(path, wait=0):  # what matters to reading is said by it
        pass


def _journal(path: Path) -> Path:
    """Return where SQLite keeps a file's journal: beside the file itself, whatever links lead to it."""
    return Path(f"{os.path.realpath(path)}-journal")


def _wipe(path: Path) -> None:
    """Overwrite a file with zeros, to the disk, and remove it."""
    if not path.exists():
        return
    with path.open("r+b") as file:
        left = path.stat().st_size
        while left > 0:
            left -= file.write(bytes(min(left, _WIPED_BYTES)))
        file.flush()
        os.fsync(file.fileno())
    with contextlib.suppress(PermissionError):  # Windows removes no file that is open; this one holds nothing any more
        path.unlink()


@contextlib.contextmanager
def said(path: Path) -> Iterator[None]:
    """Say what SQLite says in the words of a gallery.

    Raises:
        GalleryError: the file is locked, full, read-only, damaged or something else.
    """
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorname", "") or ""
        raise GalleryError(f"gallery {path}: {_reason(code, error)}") from error
    except OSError as error:
        raise GalleryError(f"gallery {path}: can't be written ({error.strerror or error}); check the folder and its permissions") from error


def _reason(code: str, error: sqlite3.Error) -> str:
    if code.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return f"another process has been writing it for {WAIT_SECONDS:g} seconds; try again when it is done"
    if code.startswith(("SQLITE_FULL", "SQLITE_IOERR_WRITE")):
        return f"there is no room on its disk ({error}); nothing was changed. Make room, then do it again"
    if code.startswith("SQLITE_READONLY"):
        return f"it can't be written to ({error}); nothing was changed. Check the permissions of the file and of its folder"
    if code.startswith("SQLITE_NOTADB"):
        return "this is no gallery, or its beginning is damaged; choose another file, it will not be overwritten"
    if code.startswith("SQLITE_CANTOPEN"):
        return f"it can't be opened ({error}); check the permissions of the file and of its folder"
    if code.startswith("SQLITE_IOERR"):
        return f"its disk can't be read or written ({error})"
    return damaged(str(error))


def damaged(reason: str) -> str:
    """Return what is said of a file that SQLite or a checksum finds damaged."""
    return f"the file is damaged ({reason}); put back a copy, or delete it and enrol anew"


@contextlib.contextmanager
def _connected(path: Path, wait: float | None = None) -> Iterator[sqlite3.Connection]:
    """Yield a connection that waits for others so many seconds, `WAIT_SECONDS` where none are given.

    Raises:
        GalleryError: the file is one of something else, which would be changed by being opened so.
    """
    _check_log(path)
    # rw reads a file that can't be written too; ro could not undo what a killed process has left unfinished
    address, timeout = f"{path.absolute().as_uri()}?mode=rw", WAIT_SECONDS if wait is None else wait
    with contextlib.closing(sqlite3.connect(address, uri=True, timeout=timeout, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")  # of a new file
        connection.execute("PRAGMA secure_delete = ON")  # what is deleted is overwritten with zeros
        connection.execute("PRAGMA temp_store = MEMORY")  # no copy of faces in the folder for temporary files
        # SQLite removes no journal, `_wipe` does. The first to read is the second of these commands: it would remove what a killed process
        # has left before it knows better, if it had not been told to keep the file for itself
        for mode in ("locking_mode = EXCLUSIVE", "journal_mode = PERSIST", "locking_mode = NORMAL"):
            connection.execute(f"PRAGMA {mode}")
        yield connection


def _make(path: Path) -> None:
    """Make an empty file that its owner alone can read: faces are nobody else's business."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


def _shut(path: Path) -> None:
    """Let its owner alone read a file that was made by something else, such as a copy that was put back."""
    with contextlib.suppress(PermissionError):  # somebody else's: whether it can be written SQLite says
        path.chmod(stat.S_IMODE(path.stat().st_mode) & 0o700)


def _check_log(path: Path) -> None:
    """Refuse a file of something else that keeps a write-ahead log: asking for a journal would already change it.

    Raises:
        GalleryError: it is one.
    """
    with path.open("rb") as file:
        header = file.read(_HEADER_BYTES)
    if header.startswith(b"SQLite format 3\0") and header[18:20] == b"\2\2" and header[68:72] != APPLICATION_ID.to_bytes(4, "big"):
        raise _of_something_else(path)


def _of_something_else(path: Path) -> GalleryError:
    return GalleryError(f"gallery {path}: this is an SQLite file of something else; choose another file, it will not be changed")


def _check(connection: sqlite3.Connection, path: Path) -> bool:
    """Tell whether the file holds a gallery that this zoo can read; an empty one holds none yet.

    Raises:
        GalleryError: it holds something else, or a newer gallery.
    """
    (identity,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if not tables and not identity:
        return False
    if identity != APPLICATION_ID:
        raise _of_something_else(path)
    if version != SCHEMA:
        raise GalleryError(
            f"gallery {path}: its layout is number {version}, and this zoo reads {SCHEMA}; install the version of resnet-zoo that wrote it"
        )
    return True
