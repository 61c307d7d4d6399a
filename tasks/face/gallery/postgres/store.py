"""Gallery in PostgreSQL with pgvector. The search is exact; no approximate index is used.

pgvector computes distances in float32. The server returns every face that may be among the nearest within the rounding error of float32.
The final ranking is computed here in float64.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC
from typing import TYPE_CHECKING, Any

import numpy as np

from zoo.tasks.face.embedding.distances import distances, first_people, part_of
from zoo.tasks.face.gallery.errors import GalleryError, NameTakenError
from zoo.tasks.face.gallery.postgres.session import Session
from zoo.tasks.face.gallery.store import Described, Embedder, EnrolledFace, Match, NewFace, Person, Vectors

if TYPE_CHECKING:
    from psycopg import Cursor

LAYOUT = 1
_OPERATORS = {"cosine": "<=>", "euclidean": "<->"}
_TABLES = (
    "CREATE TABLE zoo_gallery (one int PRIMARY KEY CHECK (one = 1), layout int NOT NULL, fingerprint text NOT NULL, "
    "model text NOT NULL, distance text NOT NULL, threshold float8, size int NOT NULL)",
    "CREATE TABLE zoo_people (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL UNIQUE)",
    "CREATE TABLE zoo_faces (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, person bigint NOT NULL REFERENCES zoo_people, "
    "embedding vector({size}) NOT NULL, photo text NOT NULL, quality jsonb NOT NULL, enrolled timestamptz NOT NULL DEFAULT now())",
    # otherwise 512-dimensional embeddings are stored in a TOAST table, which is slow to search
    "ALTER TABLE zoo_faces ALTER embedding SET STORAGE PLAIN",
    "CREATE INDEX zoo_faces_of_person ON zoo_faces (person)",
)


class PostgresStore:
    """Store in the tables zoo_gallery, zoo_people and zoo_faces of a database, which can hold only one gallery."""

    def __init__(self, address: str) -> None:
        self._session = Session(address)
        self.place = self._session.place

    def described(self) -> Described:
        """Return the description of the gallery's embeddings."""
        with self._session.reading() as cursor:
            return self._described(cursor)

    def add(self, about: Described, people: Mapping[str, Sequence[NewFace]], more: bool) -> None:
        """Enrol people, either all or none, and create the gallery if needed. `more` is whether faces may be added to an existing name."""
        from psycopg.types.json import Jsonb

        with self._session.writing() as cursor:
            self._join(cursor, about)
            for name, faces in people.items():
                person = self._person(cursor, name)
                if person is None:
                    person = cursor.execute("INSERT INTO zoo_people (name) VALUES (%s) RETURNING id", (name,)).fetchone()[0]  # type: ignore[index]
                elif not more:
                    raise NameTakenError(self.place, name)
                cursor.executemany(
                    "INSERT INTO zoo_faces (person, embedding, photo, quality) VALUES (%s, %b, %s, %s)",
                    [(person, face.embedding, face.photo, Jsonb(dict(face.quality))) for face in faces],
                )

    def remove(self, name: str) -> int:
        """Delete a person, rewrite the tables without the deleted rows, and return the number of deleted faces.

        The tables are rewritten even if no person has this name, because an earlier rewrite may have failed.
        """
        self.described()  # raises an error if there is no gallery
        with self._session.writing() as cursor:
            self._check_owner(cursor)
            person = self._person(cursor, name)
            count = cursor.execute("DELETE FROM zoo_faces WHERE person = %s", (person,)).rowcount
            cursor.execute("DELETE FROM zoo_people WHERE id = %s", (person,))
        try:
            self._session.run("VACUUM FULL zoo_faces, zoo_people")
        except GalleryError as error:
            raise GalleryError(
                f"{name!r} is deleted, but the tables could not be rewritten, so the server's files still contain the deleted data; "
                f"forget the same name again to repeat the rewriting, although it is no longer enrolled: {error}"
            ) from error
        return count

    def people(self) -> list[Person]:
        """Return all enrolled people, sorted by name."""
        command = (
            "SELECT name, count(*), min(enrolled) FROM zoo_people JOIN zoo_faces ON person = zoo_people.id "
            'GROUP BY zoo_people.id, name ORDER BY name COLLATE "C"'
        )
        with self._session.reading() as cursor:
            self._described(cursor)
            return [Person(name, count, _time(first)) for name, count, first in cursor.execute(command).fetchall()]

    def faces(self, name: str) -> list[EnrolledFace]:
        """Return a person's faces in the order of enrolment."""
        command = (
            "SELECT zoo_faces.id, photo, quality, enrolled, embedding FROM zoo_faces JOIN zoo_people ON person = zoo_people.id "
            "WHERE name = %s ORDER BY zoo_faces.id"
        )
        with self._session.reading() as cursor:
            self._described(cursor)
            return [
                EnrolledFace(number, name, photo, dict(quality), _time(enrolled), embedding.to_numpy())
                for number, photo, quality, enrolled, embedding in cursor.execute(command, (name,)).fetchall()
            ]

    def count(self) -> int:
        """Return the number of enrolled faces."""
        with self._session.reading() as cursor:
            return int(cursor.execute("SELECT count(*) FROM zoo_faces").fetchone()[0])  # type: ignore[index]

    def nearest(self, given: Embedder, queries: Vectors, top: int) -> tuple[Described, list[list[Match]]]:
        """Return the description of the gallery's embeddings, and the `top` nearest people to each query."""
        with self._session.reading() as cursor:
            about = self._described(cursor)
            about.check(self.place, given, queries.shape[1])
            return about, [self._nearest(cursor, about, query, top) for query in queries]

    def close(self) -> None:
        """Close the connection."""
        self._session.close()

    def _nearest(self, cursor: Cursor[Any], about: Described, query: Vectors, top: int) -> list[Match]:
        distance = about.embedder.distance
        # a sum of squares has no cancellation, so its relative error is bounded, and that of its root is half as large
        part = part_of(about.size)
        command = (
            f"WITH far AS MATERIALIZED (SELECT id, person, embedding {_OPERATORS[distance]} %(query)b AS far FROM zoo_faces), "
            "near AS (SELECT min(far) AS far FROM far GROUP BY person ORDER BY 1 LIMIT %(top)s) "
            "SELECT far.id, far.person, name, photo, embedding FROM far JOIN zoo_faces USING (id) JOIN zoo_people ON zoo_people.id = "
            "far.person WHERE far.far <= (SELECT max(far) FROM near) * %(times)s + %(room)s"
        )
        room = {"times": 1.0, "room": 2 * part} if distance == "cosine" else {"times": 1 + 2 * part, "room": 0.0}
        rows = cursor.execute(command, {"query": query, "top": top, **room}).fetchall()
        if not rows:
            return []
        far = distances(query, np.stack([row[4].to_numpy() for row in rows]), distance)
        people, numbers = (np.array([row[column] for row in rows], np.int64) for column in (1, 0))
        chosen = first_people(far, people, numbers, top)
        return [Match(rows[place][2], float(far[place]), rows[place][3], rows[place][0]) for place in chosen]

    def _join(self, cursor: Cursor[Any], about: Described) -> None:
        """Create the gallery for a model, or check that the existing gallery belongs to the model."""
        exists = cursor.execute("SELECT to_regclass('zoo_gallery') IS NOT NULL").fetchone()
        if not (exists and exists[0]):
            for command in _TABLES:
                cursor.execute(command.format(size=about.size))
            model = about.embedder
            cursor.execute(
                "INSERT INTO zoo_gallery VALUES (1, %s, %s, %s, %s, %s, %s)",
                (LAYOUT, model.fingerprint, model.name, model.distance, model.threshold, about.size),
            )
        self._described(cursor).check(self.place, about.embedder, about.size)

    def _described(self, cursor: Cursor[Any]) -> Described:
        row = cursor.execute("SELECT layout, fingerprint, model, distance, threshold, size FROM zoo_gallery").fetchone()
        if row is None:
            raise GalleryError(f"gallery {self.place}: the record of its model is missing; restore a backup, or drop the tables zoo_…")
        if row[0] != LAYOUT:
            raise GalleryError(
                f"gallery {self.place}: the layout version is {row[0]}; expected {LAYOUT}. Use the version of resnet-zoo that created it"
            )
        return Described(Embedder(*row[1:5]), row[5])

    def _check_owner(self, cursor: Cursor[Any]) -> None:
        """Raise a GalleryError if the user owns neither the tables nor the database; the server would skip VACUUM with only a warning."""
        command = (
            "SELECT bool_and(pg_has_role(relowner, 'USAGE')) OR bool_or(pg_has_role(datdba, 'USAGE')), "
            "min(pg_get_userbyid(relowner)::text) FROM pg_class, pg_database "
            "WHERE pg_class.oid IN ('zoo_faces'::regclass, 'zoo_people'::regclass) AND datname = current_database()"
        )
        may, owner = cursor.execute(command).fetchone() or (False, "")
        if not may:
            raise GalleryError(
                f"gallery {self.place}: nothing was deleted, because only the owner of its tables can rewrite them (VACUUM FULL); "
                f"run forget as the user {owner}"
            )

    def _person(self, cursor: Cursor[Any], name: str) -> int | None:
        row = cursor.execute("SELECT id FROM zoo_people WHERE name = %s", (name,)).fetchone()
        return None if row is None else int(row[0])


def _time(moment: Any) -> str:
    return str(moment.astimezone(UTC).isoformat(timespec="seconds"))
