"""Gallery files that are damaged, of another application or of a newer version: an error is raised, and no answer is returned."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.gallery_rows import MODEL, vectors
from zoo.errors import InputError
from zoo.tasks.face.gallery import Gallery, GalleryError
from zoo.tasks.face.gallery.sqlite import file as sqlite_file


def test_what_is_no_gallery_is_not_touched(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("These are notes, and nothing else. " * 100)
    with contextlib.closing(sqlite3.connect(tmp_path / "other.db")) as other:
        other.execute("CREATE TABLE songs (title TEXT)")
    reasons = {text: "the file is not a gallery, or its header is damaged", tmp_path / "other.db": "an SQLite file of another application"}
    for place, reason in reasons.items():
        before = place.read_bytes()
        with pytest.raises(GalleryError, match=f"{place.name}: .*{reason}; choose another file"):
            Gallery(place).people()
        with pytest.raises(GalleryError, match=f"{place.name}: .*{reason}; choose another file"):
            Gallery(place, MODEL).enroll("Ann", vectors(1))
        assert place.read_bytes() == before


def test_a_file_of_something_else_keeps_its_write_ahead_log(tmp_path: Path) -> None:
    place = tmp_path / "other.db"
    with contextlib.closing(sqlite3.connect(place)) as other:
        other.execute("PRAGMA journal_mode = WAL")
        other.execute("CREATE TABLE songs (title TEXT)")
    before = place.read_bytes()
    for call in (Gallery(place).people, lambda: Gallery(place, MODEL).enroll("Ann", vectors(1), quality=None)):
        with pytest.raises(
            GalleryError,
            match=r"other.db: this is an SQLite file of another application; choose another file. This one was not changed",
        ):
            call()
    assert place.read_bytes() == before


def test_a_gallery_of_a_newer_zoo(tmp_path: Path) -> None:
    place = tmp_path / "faces.gallery"
    Gallery(place, MODEL).enroll("Ann", vectors(1))
    with contextlib.closing(sqlite3.connect(place)) as connection:
        connection.execute("PRAGMA user_version = 2")
    with pytest.raises(GalleryError, match=r"the layout version is 2; expected 1\. Use the version of resnet-zoo that created it"):
        Gallery(place, MODEL).people()


@pytest.mark.parametrize("start", range(20_000, 90_000, 7_000))
def test_a_damaged_gallery_is_not_listed_as_a_smaller_one(tmp_path: Path, start: int) -> None:
    place = tmp_path / "g"
    Gallery(place, MODEL).enroll_all({str(number): row for number, row in enumerate(vectors(4))})
    content = bytearray(place.read_bytes())
    content[start : start + 20_000] = np.random.default_rng(start).bytes(20_000)
    place.write_bytes(content)
    with pytest.raises(GalleryError, match="the file is damaged"):
        Gallery(place).people()


def test_a_person_without_a_face_is_damage(tmp_path: Path) -> None:
    place = tmp_path / "g"
    Gallery(place, MODEL).enroll("Ann", vectors(1))
    with contextlib.closing(sqlite3.connect(place, isolation_level=None)) as other:
        other.execute("DELETE FROM faces")
    with pytest.raises(GalleryError, match=r"the file is damaged \('Ann' has no face\)"):
        Gallery(place).people()


def test_an_empty_file_is_a_gallery_to_be(tmp_path: Path) -> None:
    place = tmp_path / "faces.gallery"
    place.touch()  # left by a process that was killed before its first transaction
    assert len(Gallery(place)) == 0
    Gallery(place, MODEL).enroll("Ann", vectors(1))
    assert len(Gallery(place)) == 1


@pytest.mark.parametrize(
    ("command", "call", "reason"),
    [
        ("UPDATE faces SET embedding = zeroblob(512)", "identify", "the embedding of face 1 fails its checksum"),
        ("UPDATE faces SET embedding = 'text'", "identify", "the embedding of face 1 fails its checksum"),
        ("UPDATE faces SET embedding = zeroblob(4)", "faces", "the embedding of face 1 fails its checksum"),
        ("UPDATE people SET name = 'Bob'", "people", "the name 'Bob' fails its checksum"),
        ("UPDATE people SET name = x'00ff'", "identify", r"the name b'\\x00\\xff' fails its checksum"),
        ("UPDATE faces SET quality = 'good'", "faces", "a photo has the invalid quality 'good'"),
        ("UPDATE faces SET quality = '3'", "faces", "a photo has the invalid quality '3'"),
        ("DELETE FROM people", "identify", "face 1 belongs to no person"),
        ("DELETE FROM gallery", "people", "the record of the model fails its checksum: None"),
        ("UPDATE gallery SET distance = 'miles'", "people", "the record of the model fails its checksum: .*miles"),
        ("UPDATE gallery SET threshold = 6.0", "people", "the record of the model fails its checksum: .*6.0"),
        ("UPDATE faces SET person = 2", "identify", "the embedding of face 1 fails its checksum"),
        ("DROP TABLE faces", "people", "no such table: faces"),
    ],
)
def test_what_is_not_what_was_written_is_said(tmp_path: Path, command: str, call: str, reason: str) -> None:
    place = tmp_path / "faces.gallery"
    Gallery(place, MODEL).enroll("Ann", vectors(1))
    with contextlib.closing(sqlite3.connect(place)) as connection, connection:
        connection.execute(command)
    gallery = Gallery(place, MODEL)
    calls: dict[str, Callable[[], object]] = {
        "identify": lambda: gallery.identify(vectors(1)),
        "faces": lambda: gallery.faces("Ann"),
        "people": gallery.people,
    }
    with pytest.raises(GalleryError, match=f"the file is damaged \\(.*{reason}.*restore a backup, or delete it and enrol again"):
        calls[call]()


def test_a_damaged_file_never_gives_a_wrong_answer_or_a_bare_error(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    rows = vectors(60)
    names = [f"p{index}" for index in range(60)]
    Gallery(whole, MODEL).enroll_all(dict(zip(names, rows, strict=True)))
    content, rng, caught = whole.read_bytes(), np.random.default_rng(0), 0
    place = tmp_path / "damaged"
    for turn in range(150):
        damaged = bytearray(content)
        if turn % 5 == 0:
            del damaged[rng.integers(len(damaged)) :]
        else:
            for at in rng.integers(len(damaged), size=1 + turn % 7):
                damaged[at] ^= int(rng.integers(1, 256))
        place.write_bytes(damaged)
        gallery = Gallery(place, MODEL)
        try:
            answers = [answer.name for answer in gallery.identify(rows)]
            people = [person.name for person in gallery.people()]
            number = gallery.forget("p7")
        except InputError:
            caught += 1
            continue
        assert (answers, sorted(people), number) == (names, sorted(names), 1)
    assert caught > 60


def test_what_sqlite_says_of_a_disk_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "faces.gallery"
    for code, reason in (
        ("SQLITE_CANTOPEN", "the file can't be opened"),
        ("SQLITE_IOERR_READ", "the disk can't be read from or written to"),
        ("SQLITE_CORRUPT", "the file is damaged"),
    ):
        error = sqlite3.OperationalError("as SQLite says it")
        error.sqlite_errorname = code
        with pytest.raises(GalleryError, match=rf"{reason} \(as SQLite says it\)"), sqlite_file.said(place):
            raise error
