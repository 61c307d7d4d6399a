"""Concurrent use of a gallery by several processes and threads, some of which are killed."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path

import numpy as np
import pytest

from tests.gallery_rows import MODEL, vectors
from zoo.tasks.face.gallery import Gallery


def enroll(place: Path, prefix: str, photos: int, people: int, said: Connection) -> None:
    """Enrol people one by one, and send a message after each."""
    gallery = Gallery(place, MODEL)
    for number in range(people):
        gallery.enroll(f"{prefix}{number}", vectors(photos, seed=number))
        said.send(number)


def enrolling(place: Path, prefix: str, photos: int, people: int) -> tuple[SpawnProcess, Connection]:
    """Start a process that enrols people; return it with the receiving end of its messages."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=enroll, args=(place, prefix, photos, people, there))
    process.start()
    there.close()
    return process, here


@pytest.mark.slow
def test_a_process_killed_in_the_middle_leaves_nobody_half_enrolled(tmp_path: Path) -> None:
    place, journal, photos = tmp_path / "faces.gallery", tmp_path / "faces.gallery-journal", 40
    rng = np.random.default_rng(0)
    journals = 0
    for turn in range(4):
        process, said = enrolling(place, f"turn{turn}-", photos, 1000)
        finished = [said.recv() for _ in range(3)]
        time.sleep(rng.uniform(0, 0.05))
        while not journal.exists():  # until it is within a transaction
            pass
        process.kill()
        with contextlib.suppress(EOFError, OSError):
            while True:
                finished.append(said.recv())
        process.join()
        journals += journal.exists()
        with Gallery(place, MODEL) as gallery:
            people = [person for person in gallery.people() if person.name.startswith(f"turn{turn}-")]
            assert {person.faces for person in people} == {photos}
            assert len(finished) <= len(people) <= len(finished) + 1  # everyone reported as enrolled is, and at most one more
            assert gallery.identify(vectors(1))[0].enrolled
            gallery.enroll(f"after{turn}", vectors(1))
    assert journals, "no process was killed within a transaction: the test shows nothing"


def test_a_transaction_that_is_cut_short_is_undone_by_whoever_comes_next(tmp_path: Path) -> None:
    place = tmp_path / "faces.gallery"
    Gallery(place, MODEL).enroll("Ann", vectors(1))
    program = f"""
import os, signal, sqlite3
connection = sqlite3.connect({str(place)!r}, isolation_level=None)
connection.execute("PRAGMA cache_size = 1")  # so that pages are written before the end
connection.execute("BEGIN IMMEDIATE")
connection.execute("DELETE FROM faces")
connection.execute("INSERT INTO people (name, checksum) VALUES ('half', 0)")
connection.executemany("INSERT INTO people (name, checksum) VALUES (?, 0)", [(str(i) * 100,) for i in range(2000)])
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -signal.SIGKILL
    journal, held = tmp_path / "faces.gallery-journal", tmp_path / "held"
    os.link(journal, held)  # as a disk keeps removed content in its free blocks
    assert vectors(1).tobytes() in held.read_bytes()
    assert [person.name for person in Gallery(place).people()] == ["Ann"]
    assert Gallery(place, MODEL).identify(vectors(1))[0].name == "Ann"
    assert not journal.exists()
    assert not any(held.read_bytes())


def test_the_journal_of_a_writer_is_left_to_it_by_who_reads(tmp_path: Path) -> None:
    place = tmp_path / "faces.gallery"
    Gallery(place, MODEL).enroll("Ann", vectors(1))
    with contextlib.closing(sqlite3.connect(place, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute("DELETE FROM faces")
        journal = (tmp_path / "faces.gallery-journal").read_bytes()
        assert vectors(1).tobytes() in journal
        assert Gallery(place, MODEL).identify(vectors(1))[0].name == "Ann"
        assert (tmp_path / "faces.gallery-journal").read_bytes() == journal
        other.execute("ROLLBACK")
    assert len(Gallery(place)) == 1


@pytest.mark.slow
def test_processes_that_enrol_at_once_wait_for_each_other(tmp_path: Path) -> None:
    place = tmp_path / "faces.gallery"
    started = [enrolling(place, f"p{number}-", 3, 15) for number in range(3)]
    gallery = Gallery(place, MODEL)
    while any(process.is_alive() for process, _ in started):
        if len(gallery):
            gallery.identify(vectors(1))  # a reader in between disturbs no writer
    assert [process.exitcode for process, _ in started] == [0] * 3
    assert len(gallery) == 3 * 15 * 3
    assert len(gallery.people()) == 45


def test_several_threads_may_ask_one_gallery(tmp_path: Path) -> None:
    gallery = Gallery(tmp_path / "g", MODEL)
    gallery.enroll_all({f"p{index}": row for index, row in enumerate(vectors(50))})
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda row: gallery.identify(row)[0].name, vectors(50)))
    assert answers == [f"p{index}" for index in range(50)]


def enroll_beside_a_child(place: Path, said: Connection) -> None:
    """Enrol in this process and in a forked child, through the same gallery object."""
    gallery = Gallery(place, MODEL)
    gallery.identify(vectors(1))
    child = os.fork()
    gallery.enroll("parent" if child else "child", vectors(1, seed=bool(child) + 1))
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
    said.send(sorted(match.name for match in gallery.identify(vectors(1))[0].matches))


@pytest.mark.slow
def test_a_child_process_may_use_what_its_parent_has_opened(tmp_path: Path) -> None:
    Gallery(tmp_path / "g", MODEL).enroll("Ann", vectors(1))
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=enroll_beside_a_child, args=(tmp_path / "g", there))
    process.start()
    there.close()
    assert here.recv() == ["Ann", "child", "parent"]
    process.join()
