"""Gallery in an SQLite file, searched in memory.

SQLite stores the embeddings, and NumPy searches them. This is several times as fast as sqlite-vec or LanceDB (see
docs/benchmarks.md for measurements), needs no additional package, and works in Python builds that can't load SQLite extensions.
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

from zoo.tasks.face.gallery.errors import GalleryError, NameTakenError
from zoo.tasks.face.gallery.sqlite.file import compact, damaged, reading, writing
from zoo.tasks.face.gallery.sqlite.matrix import Matrix
from zoo.tasks.face.gallery.store import Described, Embedder, EnrolledFace, Match, NewFace, Person, Quality, Vectors

_FETCHED = 8192  # number of rows read at once
_STATES = 64  # number of recent states recorded in a file; a reader whose last state is older reads all rows again
_STORED = np.dtype("<f4")  # little-endian on all machines


class SqliteStore:
    """Store in a file. The embeddings are cached in memory, and the cache is updated before each search."""

    def __init__(self, path: Path) -> None:
        """Set the path. The file is opened on demand; the first enrolment creates it."""
        self.path, self.place = path, str(path)
        self._lock = threading.Lock()
        self._matrix: Matrix | None = None
        self._state = ""

    def described(self) -> Described:
        """Return the description of the gallery's embeddings."""
        with reading(self.path) as connection:
            return self._described(connection)

    def add(self, about: Described, people: Mapping[str, Sequence[NewFace]], more: bool) -> None:
        """Enrol people, either all or none, and create the gallery if needed. `more` is whether faces may be added to an existing name."""
        with writing(self.path) as connection:
            self._join(connection, about)
            for name, faces in people.items():
                person = self._person(connection, name)
                if person is None:
                    person = _insert_person(connection, name)
                elif not more:
                    raise NameTakenError(self.place, name)
                connection.executemany(
                    "INSERT INTO faces (person, embedding, checksum, photo, quality, enrolled) VALUES (?, ?, ?, ?, ?, ?)",
                    [(person, *_values(face, person)) for face in faces],
                )
            _mark(connection, grown=True)

    def remove(self, name: str) -> int:
        """Delete a person, and return the number of deleted faces.

        The freed bytes and the journal are overwritten with zeros, and the file is rewritten without them. It is rewritten even if
        no person has this name, because an earlier process may have been stopped before rewriting it.
        """
        self.described()  # raises an error if there is no gallery
        with writing(self.path) as connection:
            person = self._person(connection, name)
            count = connection.execute("DELETE FROM faces WHERE person = ?", (person,)).rowcount
            connection.execute("DELETE FROM people WHERE id = ?", (person,))
            if person is not None:
                _mark(connection, grown=False)
        try:
            compact(self.path)
        except GalleryError as error:
            raise GalleryError(f"{name!r} is deleted and overwritten with zeros, but the file could not be compacted: {error}") from error
        return count

    def people(self) -> list[Person]:
        """Return all enrolled people, sorted by name. The whole file is checked for damage, so that no person is silently missing."""
        command = (
            "SELECT people.name, people.id, people.checksum, count(faces.id), min(faces.enrolled) FROM people LEFT JOIN faces "
            "ON faces.person = people.id GROUP BY people.id ORDER BY people.name"
        )
        with reading(self.path) as connection:
            self._described(connection)
            (check,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            if check != "ok":
                raise GalleryError(f"gallery {self.place}: {damaged(' '.join(check.split()))}")
            found = [Person(self._name(*row[:3]), row[3], str(row[4])) for row in connection.execute(command)]
        for person in found:
            if not person.faces:
                raise GalleryError(f"gallery {self.place}: {damaged(f'{person.name!r} has no face')}")
        return found

    def faces(self, name: str) -> list[EnrolledFace]:
        """Return a person's faces in the order of enrolment."""
        command = (
            "SELECT photo, quality, enrolled, faces.id, embedding, faces.checksum, person FROM faces JOIN people "
            "ON faces.person = people.id WHERE people.name = ? ORDER BY faces.id"
        )
        with reading(self.path) as connection:
            size = self._described(connection).size
            return [
                EnrolledFace(row[0], name, str(photo), self._quality(quality), str(enrolled), self._embeddings([row], size)[0])
                for photo, quality, enrolled, *row in connection.execute(command, (name,))
            ]

    def count(self) -> int:
        """Return the number of enrolled faces."""
        with reading(self.path) as connection:
            return int(connection.execute("SELECT count(*) FROM faces").fetchone()[0])

    def nearest(self, given: Embedder, queries: Vectors, top: int) -> tuple[Described, list[list[Match]]]:
        """Return the description of the gallery's embeddings, and the `top` nearest people to each query."""
        with self._lock, reading(self.path) as connection:
            about = self._described(connection)
            about.check(self.place, given, queries.shape[1])
            found = self._up_to_date(connection, about).nearest(queries, top)
            return about, [[self._match(connection, *near) for near in row] for row in found]

    def close(self) -> None:
        """Drop the cached embeddings."""
        with self._lock:
            self._matrix = None

    def _join(self, connection: sqlite3.Connection, about: Described) -> None:
        """Record the model of a new gallery, or check that an existing gallery belongs to the model."""
        if not connection.execute("SELECT count(*) FROM gallery").fetchone()[0]:
            model = about.embedder
            values = (model.fingerprint, model.name, model.distance, model.threshold, about.size)
            connection.execute(
                "INSERT INTO gallery (one, fingerprint, model, distance, threshold, size, epoch, checksum) VALUES (1, ?, ?, ?, ?, ?, ?, ?)",
                (*values, secrets.token_hex(8), _checksum(repr(values).encode())),
            )
        self._described(connection).check(self.place, about.embedder, about.size)

    def _described(self, connection: sqlite3.Connection) -> Described:
        row = connection.execute("SELECT fingerprint, model, distance, threshold, size, checksum FROM gallery").fetchone()
        if row is None or _checksum(repr(row[:5]).encode()) != row[5]:
            raise GalleryError(f"gallery {self.place}: {damaged(f'the record of the model fails its checksum: {row}')}")
        return Described(Embedder(*row[:4]), row[4])

    def _person(self, connection: sqlite3.Connection, name: str) -> int | None:
        row = connection.execute("SELECT id FROM people WHERE name = ?", (name,)).fetchone()
        return None if row is None else int(row[0])

    def _up_to_date(self, connection: sqlite3.Connection, about: Described) -> Matrix:
        """Return all embeddings. If faces have only been added since the last search, only the new ones are read.

        If faces were deleted, or if the file was replaced by another file or an older copy, the file's recorded states don't include the
        state of the last search, and all embeddings are read again.
        """
        (states,) = connection.execute("SELECT epoch FROM gallery").fetchone()
        if self._matrix is None or self._state not in states.split():
            self._matrix = Matrix(about.size, about.embedder.distance)
        matrix, self._state = self._matrix, ""  # the state is invalid while rows are being read
        (new,) = connection.execute("SELECT count(*) FROM faces WHERE id > ?", (matrix.last_face,)).fetchone()
        matrix.reserve(new)
        rows = connection.execute("SELECT id, embedding, checksum, person FROM faces WHERE id > ? ORDER BY id", (matrix.last_face,))
        while part := rows.fetchmany(_FETCHED):
            embeddings = self._embeddings(part, about.size)
            numbers = np.array([(row[0], row[3]) for row in part], np.int64)
            matrix.append(embeddings, numbers[:, 0], numbers[:, 1])
        self._state = states.split()[-1]
        return matrix

    def _match(self, connection: sqlite3.Connection, face: int, distance: float) -> Match:
        command = "SELECT name, people.id, people.checksum, photo FROM faces JOIN people ON people.id = faces.person WHERE faces.id = ?"
        row = connection.execute(command, (face,)).fetchone()
        if row is None:
            raise GalleryError(f"gallery {self.place}: {damaged(f'face {face} belongs to no person')}")
        return Match(self._name(*row[:3]), distance, str(row[3]), face)

    def _embeddings(self, rows: Sequence[Sequence[Any]], size: int) -> Vectors:
        """Return embeddings [N, D] from rows of (face number, bytes of the embedding, checksum, person number), after checking them."""
        for number, content, checksum, person in rows:
            if not isinstance(content, bytes) or len(content) != 4 * size or _checksum(content, person) != checksum:
                raise GalleryError(f"gallery {self.place}: {damaged(f'the embedding of face {number} fails its checksum')}")
        return np.frombuffer(b"".join(row[1] for row in rows), _STORED).reshape(-1, size).astype(np.float32, copy=False)

    def _name(self, name: Any, person: int, checksum: int) -> str:
        if not isinstance(name, str) or _checksum(name.encode(), person) != checksum:
            raise GalleryError(f"gallery {self.place}: {damaged(f'the name {name!r} fails its checksum')}")
        return name

    def _quality(self, text: Any) -> Quality:
        try:
            return dict(json.loads(text))
        except (TypeError, ValueError) as error:
            raise GalleryError(f"gallery {self.place}: {damaged(f'a photo has the invalid quality {text!r}')}") from error


def _mark(connection: sqlite3.Connection, grown: bool) -> None:
    """Record a new state of the gallery. Earlier states are kept only if faces were added, not deleted."""
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
    """Return a checksum of bytes and of the number of their person. SQLite itself has no checksums."""
    return zlib.crc32(content, person & 0xFFFFFFFF if isinstance(person, int) else 0)
