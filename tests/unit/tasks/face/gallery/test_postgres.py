"""Gallery in PostgreSQL: server failures, missing permissions and foreign tables; no person is ever half-enrolled."""

from __future__ import annotations

import builtins
import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import psycopg
import pytest

from tests.gallery_rows import MODEL, vectors
from tests.postgres import Server, server
from zoo.errors import InputError
from zoo.tasks.face.embedding.distances import distances
from zoo.tasks.face.gallery import Embedder, Gallery, GalleryError, UnknownPersonError
from zoo.tasks.face.gallery.postgres import session as postgres_session
from zoo.tasks.face.gallery.postgres.store import PostgresStore

_NUMBERS = itertools.count()
_GONE = "the database can't be reached, or the connection was lost; check that the address is correct and the server is running"


@pytest.fixture
def address(postgres: Server) -> str:
    return postgres.make(f"unit{next(_NUMBERS)}")


@pytest.fixture
def own_server() -> Iterator[Server]:
    """Server that a test may stop."""
    with server() as started:
        if started is None:
            pytest.skip("needs PostgreSQL with pgvector")
        yield started


def test_a_server_that_is_down_at_the_start(tmp_path: Any) -> None:
    pytest.importorskip("psycopg")
    gallery = Gallery(f"postgresql://ann:secret@/faces?host={tmp_path}", MODEL)
    for call in (gallery.people, lambda: gallery.enroll("Ann", vectors(1)), lambda: gallery.identify(vectors(1)), lambda: len(gallery)):
        with pytest.raises(GalleryError, match=f"gallery postgresql://ann@/faces: {_GONE}") as caught:
            call()
        assert "secret" not in str(caught.value)


def test_a_server_that_goes_down_in_the_middle_has_nobody_half_enrolled(own_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    gallery = Gallery(own_server.make("faces"), MODEL)
    gallery.enroll("Ann", vectors(2))
    person = PostgresStore._person

    def stop_before_the_last(self: PostgresStore, cursor: Any, name: str) -> int | None:
        if name == "Cem":
            own_server.stop("immediate")  # as if it were killed, with rows of this transaction written
        return person(self, cursor, name)

    monkeypatch.setattr(PostgresStore, "_person", stop_before_the_last)
    with pytest.raises(GalleryError, match=rf"{_GONE} .*Enrolling and forgetting are all-or-nothing"):
        gallery.enroll_all({"Bob": vectors(1), "Cem": vectors(3)})
    monkeypatch.undo()
    with pytest.raises(GalleryError, match=_GONE):
        gallery.identify(vectors(1))
    own_server.start()
    assert [(person.name, person.faces) for person in gallery.people()] == [("Ann", 2)]  # the same object still works
    assert gallery.identify(vectors(1))[0].name == "Ann"
    assert gallery.enroll("Bob", vectors(1, seed=2)) == 1


def test_a_client_that_is_cut_off_has_nobody_half_enrolled(address: str) -> None:
    gallery = Gallery(address, MODEL)
    gallery.enroll("Ann", vectors(1))
    with gallery._store._session._connected() as connection:  # type: ignore[union-attr]
        number = connection.info.backend_pid
    with psycopg.connect(address, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s)", (number,))
    with pytest.raises(GalleryError, match=_GONE):
        gallery.enroll("Bob", vectors(3))
    assert [person.name for person in gallery.people()] == ["Ann"]


def test_who_is_forgotten_is_in_no_file_of_the_tables(postgres: Server, address: str) -> None:
    gallery = Gallery(address, MODEL)
    rows = vectors(100)
    gallery.enroll_all({f"person-{index:03}-name": row for index, row in enumerate(rows)})

    traces = b"person-050-name", rows[50].tobytes()
    assert in_the_files(postgres, address, *traces)
    gallery.forget("person-050-name")
    assert not in_the_files(postgres, address, *traces)
    assert len(gallery) == 99


def in_the_files(postgres: Server, address: str, *traces: bytes) -> bool:
    """Return whether the files of the database hold any of the traces."""
    with psycopg.connect(address, autocommit=True) as other:
        other.execute("CHECKPOINT")
        (path,) = other.execute("SELECT pg_relation_filepath('zoo_faces')").fetchone() or ("",)
    content = b"".join(file.read_bytes() for file in (postgres.folder / "data" / path).parent.iterdir())
    return any(trace in content for trace in traces)


def test_tables_that_another_one_reads_are_written_anew_by_forgetting_again(
    postgres: Server, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_session, "WAIT_SECONDS", 1)
    gallery = Gallery(address, MODEL)
    rows = vectors(2)
    gallery.enroll_all({"Ann": rows[0], "Bob": rows[1]})
    with psycopg.connect(address) as reader:
        reader.execute("SELECT count(*) FROM zoo_faces").fetchone()
        with pytest.raises(GalleryError, match=r"'Ann' is deleted, but the tables could not be rewritten.*forget the same name") as said:
            gallery.forget("Ann")
    assert "all-or-nothing" not in str(said.value)
    assert in_the_files(postgres, address, rows[0].tobytes())
    with pytest.raises(UnknownPersonError, match="no person named 'Ann' is enrolled"):
        gallery.forget("Ann")
    assert not in_the_files(postgres, address, rows[0].tobytes())
    assert [person.name for person in gallery.people()] == ["Bob"]


def test_who_may_not_write_the_tables_anew_deletes_nothing(postgres: Server, address: str) -> None:
    Gallery(address, MODEL).enroll("Ann", vectors(1))
    with psycopg.connect(address, autocommit=True) as other:
        other.execute("DROP ROLE IF EXISTS writer")
        other.execute("CREATE ROLE writer LOGIN")
        other.execute("GRANT ALL ON zoo_gallery, zoo_people, zoo_faces TO writer")
    gallery = Gallery(address.replace("zoo@", "writer@"), MODEL)
    gallery.enroll("Bob", vectors(1, seed=1))
    with pytest.raises(GalleryError, match=r"only the owner of its tables can rewrite them \(VACUUM FULL\); run forget as the user zoo"):
        gallery.forget("Ann")
    assert len(gallery) == 2


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("UPDATE zoo_gallery SET layout = 2", "the layout version is 2; expected 1. Use the version"),
        ("DELETE FROM zoo_gallery", "the record of its model is missing"),
        ("ALTER TABLE zoo_gallery DROP COLUMN distance", "the database's tables don't belong to a gallery, or are damaged"),
        ("REVOKE ALL ON zoo_gallery FROM guest", "the database user lacks a permission"),
    ],
)
def test_tables_that_are_not_a_gallerys(address: str, command: str, reason: str) -> None:
    Gallery(address, MODEL).enroll("Ann", vectors(1))
    with psycopg.connect(address, autocommit=True) as other:
        other.execute("DROP ROLE IF EXISTS guest")
        other.execute("CREATE ROLE guest LOGIN")
        other.execute(command)
    user = "guest" if "guest" in command else "zoo"
    with pytest.raises(GalleryError, match=reason):
        Gallery(address.replace("zoo@", f"{user}@"), MODEL).people()


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_what_the_server_has_in_float32_is_decided_in_float64(address: str, distance: str) -> None:
    rng = np.random.default_rng(0)
    rows = (rng.standard_normal((1, 512)) + rng.standard_normal((400, 512)) * 1e-6).astype(np.float32)
    gallery = Gallery(address, Embedder("aa", "own", distance, None))
    gallery.enroll_all({str(number): row for number, row in enumerate(rows)})
    queries = vectors(20, 512, seed=1)
    exact = [str(distances(query, rows, distance).argmin()) for query in queries]
    assert [answer.matches[0].name for answer in gallery.identify(queries, top=1)] == exact


def test_a_table_that_another_process_keeps_locked(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    gallery = Gallery(address, MODEL)
    gallery.enroll("Ann", vectors(1))
    monkeypatch.setattr(postgres_session, "WAIT_SECONDS", 1)
    waiting = Gallery(address, MODEL)
    with psycopg.connect(address) as other:
        other.execute("SELECT pg_advisory_xact_lock(%s)", (postgres_session._LOCK,))
        with pytest.raises(GalleryError, match="another process has been writing to the gallery for 1 seconds"):
            waiting.enroll("Bob", vectors(1))
    assert waiting.enroll("Bob", vectors(1)) == 1


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (psycopg.errors.DiskFull("no"), "the server's disk is full; free some space, then try again"),
        (psycopg.errors.UndefinedFile("no"), "pgvector is not installed on the server; install its package, such as postgresql-17"),
        (psycopg.errors.FeatureNotSupported("no"), "pgvector is not installed on the server"),
        (psycopg.errors.ReadOnlySqlTransaction("no"), "the database user lacks a permission"),
    ],
)
def test_what_the_server_says_is_said(error: Exception, reason: str) -> None:
    session = postgres_session.Session("postgresql://ann@there:5433/faces")
    with pytest.raises(GalleryError, match=rf"gallery postgresql://ann@there:5433/faces: {reason}.* \(no\)"), session.said():
        raise error


def test_addresses_that_can_not_be_read() -> None:
    with pytest.raises(InputError, match="the gallery's address can't be parsed; expected postgresql://user@host:port"):
        Gallery("postgresql://ann@there:port/faces")


def test_without_the_packages_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refuse(name: str, *rest: Any) -> Any:
        if name.startswith("pgvector"):
            raise ImportError("No module named 'pgvector'")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(
        InputError, match=r"needs .*psycopg and pgvector \(No module named 'pgvector'\); run: pip install 'resnet-zoo\[postgres\]'"
    ):
        Gallery("postgresql://ann@there/faces")
