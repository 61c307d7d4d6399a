"""Connection to a PostgreSQL database with pgvector. Database errors are converted to gallery errors."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from zoo.errors import InputError
from zoo.tasks.face.gallery.errors import GalleryError, MissingGalleryError

if TYPE_CHECKING:
    import psycopg

WAIT_SECONDS = 30
_CONNECT_SECONDS = 10
_LOCK = 0x7A6F6F66616365  # "zooface" in ASCII: key of the advisory lock that lets only one process write at a time


class Session:
    """Database connection that is opened on demand, and reopened after a connection loss or a fork."""

    def __init__(self, address: str) -> None:
        try:
            import pgvector.psycopg  # noqa: F401
            import psycopg  # noqa: F401
        except ImportError as error:
            raise InputError(
                f"a gallery in PostgreSQL needs the packages psycopg and pgvector ({error}); run: pip install 'resnet-zoo[postgres]'"
            ) from error
        self._address, self.place = address, _without_password(address)
        self._connection: psycopg.Connection[Any] | None = None
        self._process = 0
        self._lock = threading.RLock()

    @contextlib.contextmanager
    def reading(self) -> Iterator[psycopg.Cursor[Any]]:
        """Yield a cursor in a read-only transaction with a consistent snapshot of the gallery, or raise a MissingGalleryError."""
        with self._lock, self.said(), self._connected() as connection, connection.transaction():
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            exists = connection.execute("SELECT to_regclass('zoo_gallery') IS NOT NULL").fetchone()
            if not (exists and exists[0]):
                raise MissingGalleryError(self.place)
            with self._cursor(connection) as cursor:
                yield cursor

    @contextlib.contextmanager
    def writing(self) -> Iterator[psycopg.Cursor[Any]]:
        """Yield a cursor in a transaction that is committed at the end, or rolled back after an error."""
        whole = ". Enrolling and forgetting are all-or-nothing"
        with self._lock, self.said(whole), self._connected() as connection, connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
            connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
            with self._cursor(connection) as cursor:
                yield cursor

    def run(self, command: str) -> None:
        """Run an SQL command outside a transaction."""
        with self._lock, self.said(), self._connected() as connection:
            connection.execute(command)

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            if self._connection is not None and self._process == os.getpid():
                self._connection.close()
            self._connection = None

    def __del__(self) -> None:
        """Close the connection if `close` was not called."""
        if hasattr(self, "_lock"):  # missing if __init__ failed
            self.close()

    @contextlib.contextmanager
    def _connected(self) -> Iterator[psycopg.Connection[Any]]:
        import psycopg

        if self._connection is None or self._connection.closed or self._process != os.getpid():
            self._connection = psycopg.connect(self._address, autocommit=True, connect_timeout=_CONNECT_SECONDS)
            self._process = os.getpid()
            self._connection.execute(f"SET lock_timeout = '{WAIT_SECONDS}s'")
            self._connection.execute("SET jit = off")  # JIT compilation takes longer than a search
            self._connection.execute("SET client_min_messages = warning")
        yield self._connection

    def _cursor(self, connection: psycopg.Connection[Any]) -> psycopg.Cursor[Any]:
        """Return a cursor that supports pgvector's type `vector`."""
        from pgvector.psycopg import register_vector
        from psycopg.types import TypeInfo

        # register the type again if its OID has changed because the extension was recreated
        vector = TypeInfo.fetch(connection, "vector")
        if vector is not None and connection.adapters.types.get(vector.oid) is None:
            register_vector(connection)
        return connection.cursor(binary=True)

    @contextlib.contextmanager
    def said(self, besides: str = "") -> Iterator[None]:
        """Convert database errors to a GalleryError whose message ends with `besides`."""
        import psycopg

        try:
            yield
        except (psycopg.Error, OSError) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise GalleryError(f"gallery {self.place}: {_cause(error)} ({reason}){besides}") from error


def _cause(error: Exception) -> str:
    from psycopg import errors

    if isinstance(error, errors.LockNotAvailable):
        return f"another process has been writing to the gallery for {WAIT_SECONDS} seconds; try again when it has finished"
    if isinstance(error, errors.DiskFull):
        return "the server's disk is full; free some space, then try again"
    if isinstance(error, errors.InsufficientPrivilege | errors.ReadOnlySqlTransaction):
        return "the database user lacks a permission; ask for the right to create tables and the extension vector"
    if isinstance(error, errors.FeatureNotSupported | errors.UndefinedFile):
        return "pgvector is not installed on the server; install its package, such as postgresql-17-pgvector"
    if isinstance(error, errors.OperationalError | errors.InterfaceError | OSError):
        return "the database can't be reached, or the connection was lost; check that the address is correct and the server is running"
    return "the database's tables don't belong to a gallery, or are damaged"


def _without_password(address: str) -> str:
    try:
        parts = urlsplit(address)
        host = parts.hostname or ""
        where = f"{parts.username}@{host}" if parts.username else host
        port = f":{parts.port}" if parts.port else ""
    except ValueError as error:
        raise InputError("the gallery's address can't be parsed; expected postgresql://user@host:port/database") from error
    return f"postgresql://{where}{port}{parts.path}"
