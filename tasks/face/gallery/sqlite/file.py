"""Transactions on the SQLite file of a gallery. SQLite's errors are converted to gallery errors.

Each transaction opens a new connection, so a gallery can be used from several threads and after a fork. Only one process can write at a
time; others wait up to `WAIT_SECONDS` (`BEGIN IMMEDIATE`).

SQLite's rollback journal is used, not the write-ahead log. It leaves a single file that can be copied, works on network disks and read-only
disks, and leaves no second file that could contain deleted faces. The advantage of the write-ahead log, reading during a long write, is not
needed, because a search reads only new rows. After a transaction, the journal is overwritten with zeros. If a process is killed, its
journal remains. The next process that opens the file, to read or to write, uses the journal to roll back the unfinished transaction and
then overwrites it.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

from zoo.tasks.face.gallery.errors import GalleryError, MissingGalleryError

APPLICATION_ID = 0x7A666163  # "zfac" in ASCII
SCHEMA = 1
WAIT_SECONDS = 30.0
_WIPED_BYTES = 2**20  # number of zeros per write
# header size of SQLite files; bytes 18 and 19 are 2 if there is a write-ahead log, bytes 68 to 71 are the application ID
_HEADER_BYTES = 100
_PAGE_BYTES = 16384  # a page of 4096 bytes would hold only one row of 512 values and waste the other half
_TABLES = (
    "CREATE TABLE gallery (one INTEGER PRIMARY KEY CHECK (one = 1), fingerprint TEXT NOT NULL, model TEXT NOT NULL, "
    "distance TEXT NOT NULL, threshold REAL, size INTEGER NOT NULL, epoch TEXT NOT NULL, checksum INTEGER NOT NULL)",
    "CREATE TABLE people (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, checksum INTEGER NOT NULL)",
    "CREATE TABLE faces (id INTEGER PRIMARY KEY AUTOINCREMENT, person INTEGER NOT NULL, "
    "embedding BLOB NOT NULL, checksum INTEGER NOT NULL, photo TEXT NOT NULL, quality TEXT NOT NULL, enrolled TEXT NOT NULL)",
    "CREATE INDEX faces_of_person ON faces (person)",
)


@contextlib.contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """Yield a connection with a consistent snapshot of the file, or raise a MissingGalleryError."""
    with said(path):
        if not os.path.lexists(path):
            raise MissingGalleryError(path)
        _finish(path)
        with _connected(path) as connection:
            connection.execute("BEGIN")
            if not _check(connection, path):
                raise MissingGalleryError(path)
            yield connection


@contextlib.contextmanager
def writing(path: Path) -> Iterator[sqlite3.Connection]:
    """Create the file if needed. Yield a connection in a transaction that is committed at the end, or rolled back after an error."""
    with said(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):  # a new file can be read only by its owner, because faces are private data
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        with _alone(path) as (connection, exists):
            # an existing file may be a restored copy; if it belongs to another user, SQLite raises an error if it can't be written
            with contextlib.suppress(PermissionError):
                path.chmod(stat.S_IMODE(path.stat().st_mode) & 0o700)
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
    """Yield a connection in an exclusive transaction, and whether the file holds a gallery.

    The journal contains the previous content of the file. Before other processes can write again, the journal is overwritten with zeros and
    removed. It is overwritten because the content of a removed file remains readable in the disk's free blocks.
    """
    with _connected(path, wait) as connection:
        connection.execute("BEGIN IMMEDIATE")
        exists = _check(connection, path)
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")  # keep the lock after the end of the transaction
        try:
            yield connection, exists
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            _wipe(_journal(path))


def _finish(path: Path) -> None:
    """If a killed process left a journal, roll back its transaction and overwrite the journal. An active writer's journal is untouched."""
    if not _journal(path).exists():
        return
    # errors that also affect reading are raised by the read itself
    with contextlib.suppress(sqlite3.OperationalError, PermissionError), _alone(path, wait=0):
        pass


def _journal(path: Path) -> Path:
    """Return the path of a file's journal. SQLite resolves symbolic links and stores the journal next to the actual file."""
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
    with contextlib.suppress(PermissionError):  # Windows can't remove an open file, but the file contains only zeros
        path.unlink()


@contextlib.contextmanager
def said(path: Path) -> Iterator[None]:
    """Convert errors of SQLite and of the file system to a GalleryError."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorname", "") or ""
        raise GalleryError(f"gallery {path}: {_reason(code, error)}") from error
    except OSError as error:
        raise GalleryError(f"gallery {path}: can't be opened ({error.strerror or error}); check the folder and its permissions") from error


def _reason(code: str, error: sqlite3.Error) -> str:
    if code.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return f"another process has been writing to the file for {WAIT_SECONDS:g} seconds; try again when it has finished"
    if code.startswith(("SQLITE_FULL", "SQLITE_IOERR_WRITE")):
        return f"the disk is full ({error}); nothing was changed. Free some space, then try again"
    if code.startswith("SQLITE_READONLY"):
        return f"the file can't be written to ({error}); nothing was changed. Check the permissions of the file and of its folder"
    if code.startswith("SQLITE_NOTADB"):
        return "the file is not a gallery, or its header is damaged; choose another file. This file was not changed"
    if code.startswith("SQLITE_CANTOPEN"):
        return f"the file can't be opened ({error}); check the permissions of the file and of its folder"
    if code.startswith("SQLITE_IOERR"):
        return f"the disk can't be read from or written to ({error})"
    return damaged(str(error))


def damaged(reason: str) -> str:
    """Return the message for a damaged file; `reason` is SQLite's message or a description of the damage."""
    return f"the file is damaged ({reason}); restore a backup, or delete it and enrol again"


@contextlib.contextmanager
def _connected(path: Path, wait: float | None = None) -> Iterator[sqlite3.Connection]:
    """Yield a connection that waits up to `wait` seconds for locks of other processes; None for `WAIT_SECONDS`."""
    _check_log(path)
    # the mode rw also works for a read-only file; the mode ro couldn't roll back the unfinished transaction of a killed process
    address, timeout = f"{path.absolute().as_uri()}?mode=rw", WAIT_SECONDS if wait is None else wait
    with contextlib.closing(sqlite3.connect(address, uri=True, timeout=timeout, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")  # only affects a new file
        connection.execute("PRAGMA secure_delete = ON")  # overwrites deleted data with zeros
        connection.execute("PRAGMA temp_store = MEMORY")  # don't write copies of faces to the temporary folder
        # SQLite must not remove the journal, because `_wipe` overwrites it first. The second command reads the file; without the exclusive
        # mode, it would remove the journal of a killed process.
        for mode in ("locking_mode = EXCLUSIVE", "journal_mode = PERSIST", "locking_mode = NORMAL"):
            connection.execute(f"PRAGMA {mode}")
        yield connection


def _check_log(path: Path) -> None:
    """Raise a GalleryError for another application's file with a write-ahead log, because setting the journal mode would change it."""
    with path.open("rb") as file:
        header = file.read(_HEADER_BYTES)
    if header.startswith(b"SQLite format 3\0") and header[18:20] == b"\2\2" and header[68:72] != APPLICATION_ID.to_bytes(4, "big"):
        raise _of_something_else(path)


def _of_something_else(path: Path) -> GalleryError:
    return GalleryError(f"gallery {path}: this is an SQLite file of another application; choose another file. This one was not changed")


def _check(connection: sqlite3.Connection, path: Path) -> bool:
    """Return whether the file holds a gallery; False for an empty file. Raise a GalleryError for any other content."""
    (identity,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if not tables and not identity:
        return False
    if identity != APPLICATION_ID:
        raise _of_something_else(path)
    if version != SCHEMA:
        raise GalleryError(
            f"gallery {path}: the layout version is {version}; expected {SCHEMA}. Use the version of resnet-zoo that created it"
        )
    return True
