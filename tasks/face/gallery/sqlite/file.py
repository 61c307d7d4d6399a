"""SQLite file of a gallery: opened for one transaction at a time, with SQLite's errors turned into gallery errors.

A connection lives for one transaction, so a gallery may be used from several threads, and after a fork. Writers wait for each other
(`BEGIN IMMEDIATE`, up to `WAIT_SECONDS`). The journal is SQLite's rollback journal, not the write-ahead log: it leaves a single file
that can be copied, works on network disks and read-only ones, and leaves no second file in which deleted faces would survive. The
advantage of the log, readers that run alongside a long writer, is not needed, because a search reads only what is new. After a
transaction, the journal is overwritten with zeros. A process that is killed leaves its journal behind; the next process that opens the
file, to read or to write, uses it to roll back the unfinished transaction, and then overwrites it too.
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
_WIPED_BYTES = 2**20  # zeros per write
_HEADER_BYTES = 100  # of SQLite's file format: bytes 18 and 19 tell whether there is a write-ahead log, 68 to 71 hold the application ID
_PAGE_BYTES = 16384  # in a page of 4096 bytes, a row of 512 numbers would stand alone and waste the other half
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
    """Yield a connection with a consistent snapshot of a gallery's file; None if there is no gallery yet."""
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
    """Create the file if needed, and yield a connection in a transaction, which is committed at the end or rolled back on an error."""
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
    """Rewrite a gallery's file without deleted data."""
    with said(path), _alone(path) as (connection, _):
        connection.execute("COMMIT")
        connection.execute("VACUUM")


@contextlib.contextmanager
def _alone(path: Path, wait: float | None = None) -> Iterator[tuple[sqlite3.Connection, bool]]:
    """Yield a connection in a transaction, and whether the file holds a gallery; no other process can write until it is closed.

    The journal holds the previous content of the file. It is overwritten with zeros before other processes may write, and then removed:
    the content of a file that is merely removed stays readable in the disk's free blocks.
    """
    with _connected(path, wait) as connection:
        connection.execute("BEGIN IMMEDIATE")
        exists = _check(connection, path)
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")  # keeps the lock when the transaction ends
        try:
            yield connection, exists
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            _wipe(_journal(path))


def _finish(path: Path) -> None:
    """Roll back a killed process's unfinished transaction and overwrite its journal; the journal of an active writer is untouched."""
    if not _journal(path).exists():
        return
    with contextlib.suppress(sqlite3.OperationalError, PermissionError), _alone(path, wait=0):  # reading reports errors that matter to it
        pass


def _journal(path: Path) -> Path:
    """Return the path of a file's journal, which SQLite keeps next to the file itself, with symbolic links resolved."""
    return Path(f"{os.path.realpath(path)}-journal")


def _wipe(path: Path) -> None:
    """Overwrite a file with zeros, flush it to the disk and remove it."""
    if not path.exists():
        return
    with path.open("r+b") as file:
        left = path.stat().st_size
        while left > 0:
            left -= file.write(bytes(min(left, _WIPED_BYTES)))
        file.flush()
        os.fsync(file.fileno())
    with contextlib.suppress(PermissionError):  # Windows doesn't remove an open file; this one holds only zeros by now
        path.unlink()


@contextlib.contextmanager
def said(path: Path) -> Iterator[None]:
    """Turn errors of SQLite and of the file system into a GalleryError."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorname", "") or ""
        raise GalleryError(f"gallery {path}: {_reason(code, error)}") from error
    except OSError as error:
        raise GalleryError(f"gallery {path}: can't be written ({error.strerror or error}); check the folder and its permissions") from error


def _reason(code: str, error: sqlite3.Error) -> str:
    if code.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return f"another process has been writing to it for {WAIT_SECONDS:g} seconds; try again when it is done"
    if code.startswith(("SQLITE_FULL", "SQLITE_IOERR_WRITE")):
        return f"its disk is full ({error}); nothing was changed. Free some space, then try again"
    if code.startswith("SQLITE_READONLY"):
        return f"it can't be written to ({error}); nothing was changed. Check the permissions of the file and of its folder"
    if code.startswith("SQLITE_NOTADB"):
        return "this is not a gallery, or its header is damaged; choose another file, this one will not be overwritten"
    if code.startswith("SQLITE_CANTOPEN"):
        return f"it can't be opened ({error}); check the permissions of the file and of its folder"
    if code.startswith("SQLITE_IOERR"):
        return f"its disk can't be read or written ({error})"
    return damaged(str(error))


def damaged(reason: str) -> str:
    """Return the message for a file that is damaged according to SQLite or a checksum."""
    return f"the file is damaged ({reason}); restore a backup, or delete it and enrol again"


@contextlib.contextmanager
def _connected(path: Path, wait: float | None = None) -> Iterator[sqlite3.Connection]:
    """Yield a connection that waits up to `wait` seconds for other processes; by default `WAIT_SECONDS`."""
    _check_log(path)
    # rw also reads a file that can't be written; ro could not roll back the unfinished transaction of a killed process
    address, timeout = f"{path.absolute().as_uri()}?mode=rw", WAIT_SECONDS if wait is None else wait
    with contextlib.closing(sqlite3.connect(address, uri=True, timeout=timeout, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")  # applies to a new file
        connection.execute("PRAGMA secure_delete = ON")  # overwrites deleted data with zeros
        connection.execute("PRAGMA temp_store = MEMORY")  # no copies of faces in the temporary folder
        # SQLite must not remove the journal, because `_wipe` does. The second command is the first to read the file: without the exclusive
        # mode set before it, it would still remove the journal of a killed process.
        for mode in ("locking_mode = EXCLUSIVE", "journal_mode = PERSIST", "locking_mode = NORMAL"):
            connection.execute(f"PRAGMA {mode}")
        yield connection


def _make(path: Path) -> None:
    """Create an empty file that only its owner can read, because faces are private data."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


def _shut(path: Path) -> None:
    """Restrict a file to its owner if something else created it, such as a restored copy."""
    with contextlib.suppress(PermissionError):  # the file of another user; SQLite reports whether it can be written
        path.chmod(stat.S_IMODE(path.stat().st_mode) & 0o700)


def _check_log(path: Path) -> None:
    """Raise an error for another application's file with a write-ahead log, which setting the journal mode would already change."""
    with path.open("rb") as file:
        header = file.read(_HEADER_BYTES)
    if header.startswith(b"SQLite format 3\0") and header[18:20] == b"\2\2" and header[68:72] != APPLICATION_ID.to_bytes(4, "big"):
        raise _of_something_else(path)


def _of_something_else(path: Path) -> GalleryError:
    return GalleryError(f"gallery {path}: this is an SQLite file of another application; choose another file, this one will not be changed")


def _check(connection: sqlite3.Connection, path: Path) -> bool:
    """Return whether the file holds a gallery that this version can read; an empty file holds none yet."""
    (identity,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if not tables and not identity:
        return False
    if identity != APPLICATION_ID:
        raise _of_something_else(path)
    if version != SCHEMA:
        raise GalleryError(
            f"gallery {path}: its layout version is {version}, expected {SCHEMA}; install the version of resnet-zoo that wrote it"
        )
    return True
