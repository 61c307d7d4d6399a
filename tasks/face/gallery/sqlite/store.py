"""A gallery in one SQLite file, searched in memory.

SQLite keeps the rows safe, NumPy searches them: measured on this machine (`python -m zoo.benchmarks.gallery`, whose docstring has the
figures) that is several times as fast as sqlite-vec or LanceDB, adds no package, and works in Pythons that can load no SQLite extension.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
import threading
import zlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from zoo.tasks.face.gallery.embedder import Embedder, check_same
from zoo.tasks.face.gallery.errors import GalleryError, name_taken
from zoo.tasks.face.gallery.sqlite.file import compact, damaged, reading, writing
from zoo.tasks.face.gallery.sqlite.matrix import Matrix, Near
from zoo.tasks.face.gallery.store import Described, EnrolledFace, Match, NewFace, Person, Quality, Vectors

_FETCHED = 8192  # rows at once
_STATES = 64  # that a file remembers: who has searched since then reads what is new, others read all
_STORED = np.dtype("<f4")  # little-endian on every machine


class SqliteStore:
    """Rows in a file, and their embeddings in memory, brought up to date by what is new before each search."""

    def __init__(self, path: Path) -> None:
        """Name the file; it is opened by what needs it, and made by the first enrolment."""
        self.path, self.place = path, str(path)
        self._lock = threading.Lock()
        self._matrix: Matrix | None = None
        self._state = ""

    def described(self) -> Described | None:
        """Return what the gallery says of itself."""
        with reading(self.path) as connection:
            return None if connection is None else self._described(connection)

    def add(self, about: Described, people: Mapping[str, Sequence[NewFace]], more: bool) -> None:
        """Enrol people, all or none."""
        with writing(self.path) as connection:
            self._join(connection, about)
            for name, faces in people.items():
                person = self._person(connection, name)
                if person is None:
                    person = _insert_person(connection, name)
                elif not more:
                    raise name_taken(self.place, name)
                connection.executemany(
                    "INSERT INTO faces (person, embedding, checksum, photo, quality, enrolled) VALUES (?, ?, ?, ?, ?, ?)",
                    [(person, *_values(face, person)) for face in faces],
                )
            _mark(connection, grown=True)

    def remove(self, name: str) -> int:
        """Delete a person; freed bytes and the journal are overwritten with zeros, and the file is then written anew without them.

        That is done too where nobody of the name is left, since a process may have been stopped before it.

        Raises:
            GalleryError: see `sqlite_file.said`; also where the person is deleted and the file could not be written anew.
        """
        if self.described() is None:
            return 0
        with writing(self.path) as connection:
            person = self._person(connection, name)
            count = connection.execute("DELETE FROM faces WHERE person = ?", (person,)).rowcount
            connection.execute("DELETE FROM people WHERE id = ?", (person,))
            if person is not None:
                _mark(connection, grown=False)
        try:
            compact(self.path)
        except GalleryError as error:
            raise GalleryError(
                f"{name!r} is deleted and overwritten with zeros, but the file could not be written anew without the gap: {error}"
            ) from error
        return count

    def people(self) -> list[Person]:
        """Return everybody, in the order of their names; the whole file is looked through, so that nobody is left out unnoticed."""
        command = (
            "SELECT people.name, people.id, people.checksum, count(faces.id), min(faces.enrolled) FROM people LEFT JOIN faces "
            "ON faces.person = people.id GROUP BY people.id ORDER BY people.name"
        )
        with reading(self.path) as connection:
            if connection is None:
                return []
            (said,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            if said != "ok":
                raise GalleryError(f"gallery {self.place}: {damaged(' '.join(said.split()))}")
            found = [Person(self._name(*row[:3]), row[3], str(row[4])) for row in connection.execute(command)]
        for person in found:
            if not person.faces:
                raise GalleryError(f"gallery {self.place}: {damaged(f'{person.name!r} has no face')}")
        return found

    def faces(self, name: str) -> list[EnrolledFace]:
        """Return a person's faces in the order they came."""
        command = (
            "SELECT photo, quality, enrolled, faces.id, embedding, faces.checksum, person FROM faces JOIN people "
            "ON faces.person = people.id WHERE people.name = ? ORDER BY faces.id"
        )
        with reading(self.path) as connection:
            if connection is None:
                return []
            size = self._described(connection).size
            return [
                EnrolledFace(row[0], name, str(photo), self._quality(quality), str(enrolled), self._embeddings([row], size)[0])
                for photo, quality, enrolled, *row in connection.execute(command, (name,))
            ]

    def count(self) -> int:
        """Return how many faces are enrolled."""
        with reading(self.path) as connection:
            return 0 if connection is None else int(connection.execute("SELECT count(*) FROM faces").fetchone()[0])

    def nearest(self, given: Embedder, queries: Vectors, top: int) -> tuple[Described, list[list[Match]]] | None:
        """Return the nearest people; what other processes have enrolled or deleted until now has its part in it."""
        with self._lock, reading(self.path) as connection:
            if connection is None:
                return None
            about = self._described(connection)
            check_same(self.place, about.embedder, given, about.size, queries.shape[1])
            found = self._up_to_date(connection, about).nearest(queries, top)
            return about, [[self._match(connection, near) for near in row] for row in found]

    def close(self) -> None:
        """Let go of the embeddings in memory."""
        with self._lock:
            self._matrix = None

    def _join(self, connection: sqlite3.Connection, about: Described) -> None:
        """Make the gallery one of this model where it is new, else check that it is."""
        if not connection.execute("SELECT count(*) FROM gallery").fetchone()[0]:
            model = about.embedder
            values = (model.fingerprint, model.name, model.distance, model.threshold, about.size)
            connection.execute(
                "INSERT INTO gallery (one, fingerprint, model, distance, threshold, size, epoch, checksum) VALUES (1, ?, ?, ?, ?, ?, ?, ?)",
                (*values, secrets.token_hex(8), _checksum(repr(values).encode())),
            )
        stored = self._described(connection)
        check_same(self.place, stored.embedder, about.embedder, stored.size, about.size)

    def _described(self, connection: sqlite3.Connection) -> Described:
        row = connection.execute("SELECT fingerprint, model, distance, threshold, size, checksum FROM gallery").fetchone()
        if row is None or _checksum(repr(row[:5]).encode()) != row[5]:
            raise GalleryError(f"gallery {self.place}: {damaged(f'whose embeddings it holds is not what was written: {row}')}")
        return Described(Embedder(*row[:4]), row[4])

    def _person(self, connection: sqlite3.Connection, name: str) -> int | None:
        row = connection.execute("SELECT id FROM people WHERE name = ?", (name,)).fetchone()
        return None if row is None else int(row[0])

    def _up_to_date(self, connection: sqlite3.Connection, about: Described) -> Matrix:
        """Return all embeddings: those of faces that are new since the last time are read, and all where it isn't only those.

        Faces may have been deleted, and another file, or an older copy, may stand in the place of the first: then the state that was
        read is none of those that this file has had.
        """
        (states,) = connection.execute("SELECT epoch FROM gallery").fetchone()
        if self._matrix is None or self._state not in states.split():
            self._matrix = Matrix(about.size, about.embedder.distance)
        matrix, self._state = self._matrix, ""  # of no state while it is being read
        (new,) = connection.execute("SELECT count(*) FROM faces WHERE id > ?", (matrix.last_face,)).fetchone()
        matrix.reserve(new)
        rows = connection.execute("SELECT id, embedding, checksum, person FROM faces WHERE id > ? ORDER BY id", (matrix.last_face,))
        while part := rows.fetchmany(_FETCHED):
            embeddings = self._embeddings(part, about.size)
            numbers = np.array([(row[0], row[3]) for row in part], np.int64)
            matrix.append(embeddings, numbers[:, 0], numbers[:, 1])
        self._state = states.split()[-1]
        return matrix

    def _match(self, connection: sqlite3.Connection, near: Near) -> Match:
        command = (
            "SELECT people.name, people.id, people.checksum, photo FROM faces JOIN people ON people.id = faces.person WHERE faces.id = ?"
        )
        row = connection.execute(command, (near.face,)).fetchone()
        if row is None:
            raise GalleryError(f"gallery {self.place}: {damaged(f'face {near.face} is nobody')}")
        return Match(self._name(*row[:3]), near.distance, str(row[3]), near.face)

    def _embeddings(self, rows: Sequence[Sequence[Any]], size: int) -> Vectors:
        """Return embeddings [N, D] of rows of number, bytes, checksum and person.

        Raises:
            GalleryError: bytes that are not what was written.
        """
        for number, content, checksum, person in rows:
            if not isinstance(content, bytes) or len(content) != 4 * size or _checksum(content, person) != checksum:
                raise GalleryError(f"gallery {self.place}: {damaged(f'the embedding of face {number} is not what was written')}")
        return np.frombuffer(b"".join(row[1] for row in rows), _STORED).reshape(-1, size).astype(np.float32, copy=False)

    def _name(self, name: Any, person: int, checksum: int) -> str:
        if not isinstance(name, str) or _checksum(name.encode(), person) != checksum:
            raise GalleryError(f"gallery {self.place}: {damaged(f'the name {name!r} is not what was written')}")
        return name

    def _quality(self, text: Any) -> Quality:
        try:
            return dict(json.loads(text))
        except (TypeError, ValueError) as error:
            raise GalleryError(f"gallery {self.place}: {damaged(f'a photo has the quality {text!r}')}") from error


def _mark(connection: sqlite3.Connection, grown: bool) -> None:
    """Name the state that a transaction leaves, after those that it has only added faces to."""
    (states,) = connection.execute("SELECT epoch FROM gallery").fetchone()
    before = states.split()[1 - _STATES :] if grown else []
    connection.execute("UPDATE gallery SET epoch = ?", (" ".join([*before, secrets.token_hex(8)]),))


def _insert_person(connection: sqlite3.Connection, name: str) -> int:
    number = connection.execute("INSERT INTO people (name, checksum) VALUES (?, 0)", (name,)).lastrowid
    assert number is not None
    connection.execute("UPDATE people SET checksum = ? WHERE id = ?", (_checksum(name.encode(), number), number))
    return number


def _values(face: NewFace, person: int) -> tuple[bytes, int, str, str, str]:
    content = np.ascontiguousarray(face.embedding, _STORED).tobytes()
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return content, _checksum(content, person), face.photo, json.dumps(dict(face.quality)), now


def _checksum(content: bytes, person: Any = 0) -> int:
    """Return a checksum of bytes and of the person that they belong to; SQLite has none of its own."""
    return zlib.crc32(content, person & 0xFFFFFFFF if isinstance(person, int) else 0)
