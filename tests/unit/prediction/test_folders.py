"""Folders as sources: links, suffixes, system folders, and what is ignored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.pictures import picture, write_picture
from zoo.data.dataset import OnError
from zoo.errors import DataError, Fault
from zoo.images.decoding import Decoding
from zoo.prediction.sources import Frame, FrameReader, open_source


def read(folder: Path, on_error: OnError = "raise", say: Any = lambda text: None) -> tuple[list[str], list[str]]:
    """Return the names of the images that are read, and of the faults."""
    jobs, total = open_source(folder, FrameReader(Decoding(), on_error, (), say))
    made = [job.run() for job in jobs]
    frames = [Path(each.key).relative_to(folder).as_posix() for each in made if isinstance(each, Frame)]
    faults = [each.key for each in made if isinstance(each, Fault)]
    assert total in (0, len(frames), len(made))
    return frames, faults


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("set/a.jpg", "set/deep/b.jpg", "set/deep/@eaDir/b.jpg/THUMB_S.jpg", "set/.hidden/c.jpg", "disk/d.jpg"):
        write_picture(tmp_path / name, picture((9, 9, 9), 1, (8, 8)))
    folder = tmp_path / "set"
    (folder / "a.jpg").rename(folder / "a.jfif")
    (folder / "linked").symlink_to(tmp_path / "disk")
    (folder / "deep" / "up").symlink_to(folder)
    (folder / "deep" / "e.psd").write_bytes(b"8BPS")
    return folder


def test_a_folder_is_read_with_its_links(folder: Path) -> None:
    said: list[str] = []
    assert read(folder, say=said.append) == (["a.jfif", "deep/b.jpg", "linked/d.jpg"], [])
    assert said == [
        f"{folder}: system folders, ignored: 1, deep/@eaDir",
        f"{folder}: files that aren't images in a supported format, ignored: 1, deep/e.psd",
        f"{folder}: links to a folder that contains them, ignored: 1, deep/up",
    ]


def test_a_link_that_leads_nowhere_stops_or_is_skipped(folder: Path) -> None:
    (folder / "gone.jpg").symlink_to("/mnt/old/gone.jpg")
    with pytest.raises(DataError, match=r"gone\.jpg: is a link to /mnt/old/gone\.jpg, which can't be followed"):
        read(folder)
    frames, faults = read(folder, "skip")
    assert frames == ["a.jfif", "deep/b.jpg", "linked/d.jpg"]
    assert faults == ["gone.jpg"]
