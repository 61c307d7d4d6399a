"""Files and folders appear complete or not at all."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

import pytest

from zoo.errors import InputError
from zoo.system.files import draft_folder, write_atomic, write_text


def test_a_file_appears_with_the_folders_above_it(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.txt"
    write_text(path, "grün\n")
    assert path.read_bytes() == "grün\n".encode()
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert os.listdir(path.parent) == ["b.txt"]


def test_a_failing_write_leaves_the_old_file_and_no_draft(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def fail(file: BinaryIO) -> None:
        file.write(b"half")
        raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        write_atomic(path, fail)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_file_can_not_replace_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(IsADirectoryError):
        write_text(tmp_path / "a", "x")
    assert os.listdir(tmp_path) == ["a"]


def write(folder: Path, content: str) -> None:
    with draft_folder(folder, "mark") as draft:
        (draft / "mark").write_text(content)
        assert not (folder / "mark").exists() or (folder / "mark").read_text() != content


def test_a_folder_appears_and_is_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "out"
    write(folder, "first")
    (folder / "other").write_text("of the first")
    write(folder, "second")
    assert os.listdir(folder) == ["mark"]
    assert (folder / "mark").read_text() == "second"
    assert os.listdir(folder.parent) == ["out"]
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    write(tmp_path / "out", "first")
    assert (tmp_path / "out" / "mark").read_text() == "first"


def test_a_failing_folder_leaves_the_old_one_and_no_draft(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    write(folder, "old")
    with pytest.raises(FileNotFoundError, match="not-there"), draft_folder(folder, "mark") as draft:
        (draft / "mark").write_bytes((folder / "not-there").read_bytes())
    assert (folder / "mark").read_text() == "old"
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_something_else_is_not_touched(tmp_path: Path, kind: str) -> None:
    place = tmp_path / "out"
    if kind == "file":
        place.write_text("precious")
    else:
        place.mkdir()
        (place / "precious").write_text("x")
    with pytest.raises(InputError, match="out exists and contains no mark; choose another path"), draft_folder(place, "mark"):
        pytest.fail("the body must not run")
    assert os.listdir(tmp_path) == ["out"]
    assert place.read_text() == "precious" if kind == "file" else os.listdir(place) == ["precious"]
