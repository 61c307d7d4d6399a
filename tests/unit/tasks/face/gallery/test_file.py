"""Gallery in a file: full disk, locks, read-only files and deletion lose no data, and leave none behind."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.gallery_rows import MODEL, vectors
from tests.unit.system.full_disk import files_up_to
from zoo.tasks.face.embedding.distances import Ints
from zoo.tasks.face.gallery import Gallery, GalleryError, NameTakenError
from zoo.tasks.face.gallery.sqlite import file as sqlite_file
from zoo.tasks.face.gallery.sqlite import store as sqlite_store
from zoo.tasks.face.gallery.sqlite.matrix import Matrix
from zoo.tasks.face.gallery.store import Vectors


def test_the_file_is_its_owners_alone(tmp_path: Path) -> None:
    place = tmp_path / "new folder" / "faces.gallery"
    Gallery(place, MODEL).enroll("Ann", vectors(1))
    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    assert [path.name for path in place.parent.iterdir()] == ["faces.gallery"]  # one file: no journal stays
    place.chmod(0o644)  # as a restored copy
    Gallery(place, MODEL).enroll("Bob", vectors(1))
    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    touched = tmp_path / "touched"
    touched.touch(0o644)
    Gallery(touched, MODEL).enroll("Ann", vectors(1))
    assert stat.S_IMODE(touched.stat().st_mode) == 0o600


def test_a_search_reads_what_is_new_and_nothing_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "g"
    read: list[int] = []

    class Watched(Matrix):
        def append(self, rows: Vectors, faces: Ints, people: Ints) -> None:
            read.append(len(rows))
            super().append(rows, faces, people)

    monkeypatch.setattr(sqlite_store, "Matrix", Watched)
    monkeypatch.setattr(sqlite_store, "_FETCHED", 4)
    gallery, other = Gallery(place, MODEL), Gallery(place, MODEL)
    other.enroll_all({f"p{index}": row for index, row in enumerate(vectors(10))})
    for expected in ([4, 4, 2], []):
        gallery.identify(vectors(1))
        assert read == expected
        read.clear()
    other.enroll("new", vectors(1, seed=5))
    assert gallery.identify(vectors(1, seed=5))[0].name == "new"
    assert read == [1]
    other.forget("p3")
    read.clear()
    assert gallery.identify(vectors(4)[3])[0].name is None
    assert sum(read) == 10
    gallery.close()
    read.clear()
    gallery.identify(vectors(1))
    assert sum(read) == 10


def test_another_file_in_the_place_of_the_first_is_noticed(tmp_path: Path) -> None:
    place = tmp_path / "g"
    gallery = Gallery(place, MODEL)
    gallery.enroll("Ann", vectors(1))
    assert gallery.identify(vectors(1))[0].name == "Ann"
    Gallery(tmp_path / "h", MODEL).enroll("Bob", vectors(1))
    (tmp_path / "h").replace(place)
    assert gallery.identify(vectors(1))[0].name == "Bob"


def test_an_older_copy_in_the_place_of_the_first_is_noticed(tmp_path: Path) -> None:
    place, copy = tmp_path / "g", tmp_path / "copy"
    rows = vectors(4)
    gallery = Gallery(place, MODEL)
    gallery.enroll("Ann", rows[0])
    shutil.copy(place, copy)
    gallery.enroll_all({"Bob": rows[1], "Eve": rows[3]})
    assert gallery.identify(rows[1])[0].name == "Bob"
    shutil.copy(copy, place)
    assert gallery.identify(rows[1])[0].name is None
    gallery.enroll_all({"Bob": rows[1], "Eve": rows[3]})
    assert gallery.identify(rows[1])[0].name == "Bob"
    shutil.copy(copy, place)
    gallery.enroll_all({"Cem": rows[2], "Eve": rows[3]})  # under the former numbers of Bob and Eve
    assert [answer.name for answer in gallery.identify(rows[1:4])] == [None, "Cem", "Eve"]


def test_what_could_not_be_read_whole_is_read_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place, copy = tmp_path / "g", tmp_path / "copy"
    rows = vectors(3)
    gallery = Gallery(place, MODEL)
    gallery.enroll("Ann", rows[0])
    assert gallery.identify(rows[0])[0].name == "Ann"
    shutil.copy(place, copy)
    gallery.enroll_all({"Bob": rows[1], "Cem": rows[2]})
    with contextlib.closing(sqlite3.connect(place, isolation_level=None)) as other:
        other.execute("UPDATE faces SET embedding = x'00' WHERE id = 3")
    monkeypatch.setattr(sqlite_store, "_FETCHED", 1)
    with pytest.raises(GalleryError, match="the embedding of face 3 fails its checksum"):
        gallery.identify(rows[0])
    shutil.copy(copy, place)
    assert [match.name for match in gallery.identify(rows[1])[0].matches] == ["Ann"]


def test_a_state_that_the_file_has_forgotten_is_read_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_store, "_STATES", 2)
    gallery, other = Gallery(tmp_path / "g", MODEL), Gallery(tmp_path / "g", MODEL)
    for number, row in enumerate(vectors(5)):
        other.enroll(str(number), row)
        if not number:
            gallery.identify(row)
    assert [answer.name for answer in gallery.identify(vectors(5))] == list("01234")


def test_the_journal_of_who_is_forgotten_is_overwritten_before_it_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "g"
    rows = vectors(300)
    gallery = Gallery(place, MODEL)
    gallery.enroll_all({f"person-{index:03}": rows[index] for index in range(300)})
    wipe = sqlite_file._wipe
    kept: list[Path] = []
    held: list[bytes] = []

    def keep(path: Path) -> None:
        """Keep the file under a second name, as a disk keeps its content in free blocks."""
        kept.append(tmp_path / f"kept{len(kept)}")
        os.link(path, kept[-1])
        held.append(path.read_bytes())
        other = sqlite3.connect(place, timeout=0, isolation_level=None)
        with contextlib.closing(other), pytest.raises(sqlite3.OperationalError, match="database is locked"):
            other.execute("BEGIN IMMEDIATE")
        wipe(path)

    monkeypatch.setattr(sqlite_file, "_wipe", keep)
    gallery.forget("person-150")
    assert any(rows[150].tobytes() in content and b"person-150" in content for content in held)
    assert len(kept) == 2  # of the deletion, and of rewriting the file
    assert not any(any(path.read_bytes()) for path in kept)
    assert not (tmp_path / "g-journal").exists()
    assert gallery.identify(rows[151])[0].name == "person-151"
    monkeypatch.undo()
    with pytest.raises(NameTakenError, match="'person-001' is already enrolled"):
        gallery.enroll_all({"new": rows[150], "person-001": rows[1]})
    gallery.enroll("new", rows[150])
    assert len(gallery) == 300


def test_a_gallery_behind_a_link_leaves_no_journal(tmp_path: Path) -> None:
    place, link = tmp_path / "real" / "g", tmp_path / "links" / "faces.gallery"
    Gallery(place, MODEL).enroll("Ann", vectors(1))
    link.parent.mkdir()
    link.symlink_to(place)
    Gallery(link, MODEL).enroll("Bob", vectors(2)[1])
    assert os.listdir(place.parent) == ["g"]
    Gallery(link).forget("Ann")
    assert (os.listdir(place.parent), os.listdir(link.parent)) == (["g"], ["faces.gallery"])
    assert [person.name for person in Gallery(place).people()] == ["Bob"]


@pytest.mark.parametrize("size", [128, 512])
def test_who_is_forgotten_is_in_no_byte_of_the_file(tmp_path: Path, size: int) -> None:
    place = tmp_path / "faces.gallery"
    gallery = Gallery(place, MODEL)
    rows = vectors(300, size)
    gallery.enroll_all(
        {f"person-{index:03}-name": rows[index : index + 1] for index in range(300)},
        photos={f"person-{index:03}-name": [f"photo-of-{index:03}.jpg"] for index in range(300)},
    )
    before = place.stat().st_size
    for index in (0, 150, 299):
        traces = [
            f"person-{index:03}-name".encode(),
            f"photo-of-{index:03}".encode(),
            *(rows[index, part : part + 4].tobytes() for part in (0, 60, 120)),
        ]
        content = place.read_bytes()
        assert all(trace in content for trace in traces)
        gallery.forget(f"person-{index:03}-name")
        content = b"".join(path.read_bytes() for path in tmp_path.iterdir())
        assert not any(trace in content for trace in traces)
    assert gallery.faces("person-007-name")[0].embedding.tolist() == rows[7].tolist()
    before = place.stat().st_size
    gallery.enroll("many", vectors(200, size))
    gallery.forget("many")
    assert place.stat().st_size <= before  # the space is released


def test_what_is_deleted_is_overwritten_even_where_the_file_can_not_be_written_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "faces.gallery"
    rows = vectors(200)
    gallery = Gallery(place, MODEL)
    for index in range(0, 200, 20):  # in several batches, so that pages are split and merged
        gallery.enroll_all({f"person-{number:03}-name": rows[number] for number in range(index, index + 20)})

    def no_room(path: Path) -> None:
        raise GalleryError(f"gallery {path}: no room")

    monkeypatch.setattr(sqlite_store, "compact", no_room)
    for index in range(0, 200, 9):
        said = (
            rf"'person-{index:03}-name' is deleted and overwritten with zeros, but the file could not be compacted: "
            rf"gallery {re.escape(str(place))}: no room"
        )
        with pytest.raises(GalleryError, match=said):
            gallery.forget(f"person-{index:03}-name")
        content = place.read_bytes()
        assert f"person-{index:03}-name".encode() not in content
        assert not any(rows[index, part : part + 4].tobytes() in content for part in range(0, 128, 4))
    assert len(gallery) == 200 - len(range(0, 200, 9))


def test_a_full_disk_changes_nothing(tmp_path: Path) -> None:
    place = tmp_path / "faces.gallery"
    gallery = Gallery(place, MODEL)
    gallery.enroll("Ann", vectors(2))
    with (
        files_up_to(place.stat().st_size + 20_000),
        pytest.raises(GalleryError, match=r"the disk is full .*nothing was changed"),
    ):
        gallery.enroll("Bob", vectors(500, seed=1))
    assert [(person.name, person.faces) for person in gallery.people()] == [("Ann", 2)]
    assert gallery.identify(vectors(1))[0].name == "Ann"
    assert gallery.enroll("Bob", vectors(500, seed=1)) == 500


@pytest.mark.slow
def test_a_file_that_can_not_be_written_can_be_read(tmp_path: Path) -> None:
    for folder in (tmp_path, *tmp_path.parents):  # pytest's folders are accessible only to their user
        if folder.stat().st_mode & 0o777 == 0o700:
            folder.chmod(0o755)
    place = tmp_path / "faces.gallery"
    Gallery(place, MODEL).enroll("Ann", vectors(1))
    place.chmod(0o444)
    program = f"""
import numpy as np, os
from zoo.tasks.face.gallery import Embedder, Gallery, GalleryError
gallery = Gallery({str(place)!r}, Embedder("0123456789abcdef", "dlib_resnet29", "euclidean", 0.6))
if os.geteuid() == 0:
    os.seteuid(65534)  # root may write everything
print(gallery.people()[0].name, gallery.identify(np.random.default_rng(0).standard_normal((1, 128)).astype("f"))[0].name)
for change in (lambda: gallery.enroll("Bob", np.ones(128)), lambda: gallery.forget("Ann")):
    try:
        change()
    except GalleryError as error:
        print(error)
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert result.stdout.splitlines()[0] == "Ann Ann", result.stderr
    said = "the file can't be written to (attempt to write a readonly database); nothing was changed. Check the permissions"
    assert [said in line for line in result.stdout.splitlines()[1:]] == [True, True]
    assert [person.name for person in Gallery(place).people()] == ["Ann"]


def test_a_place_where_no_file_can_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(GalleryError, match=r"can't be opened \(.*\); check the folder and its permissions"):
        Gallery(tmp_path / "file" / "g", MODEL).enroll("Ann", vectors(1))


def test_a_file_that_another_process_keeps_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "faces.gallery"
    gallery = Gallery(place, MODEL)
    gallery.enroll("Ann", vectors(1))
    monkeypatch.setattr(sqlite_file, "WAIT_SECONDS", 0.1)
    with contextlib.closing(sqlite3.connect(place, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert len(gallery) == 1  # reading goes on
        with pytest.raises(GalleryError, match=r"another process has been writing to the file for 0\.1 seconds; try again"):
            gallery.enroll("Bob", vectors(1))
    assert gallery.enroll("Bob", vectors(1)) == 1


def test_a_writer_has_the_file_to_itself_from_the_beginning(tmp_path: Path) -> None:
    place = tmp_path / "faces.gallery"
    Gallery(place, MODEL).enroll("Ann", vectors(1))
    # two processes that have read and then want to write could only fail
    other = sqlite3.connect(place, timeout=0, isolation_level=None)
    said = pytest.raises(sqlite3.OperationalError, match="database is locked")
    with contextlib.closing(other), sqlite_file.writing(place), said:
        other.execute("BEGIN IMMEDIATE")


def test_a_name_taken_in_the_meantime_undoes_the_whole_call(tmp_path: Path) -> None:
    place = tmp_path / "g"
    gallery = Gallery(place, MODEL)
    gallery.enroll("Zed", vectors(1))
    size = place.stat().st_size
    with pytest.raises(NameTakenError):
        gallery.enroll_all({**{f"p{index}": row for index, row in enumerate(vectors(50))}, "Zed": vectors(1)})
    assert [person.name for person in gallery.people()] == ["Zed"]
    assert place.stat().st_size == size
    assert os.listdir(tmp_path) == ["g"]
