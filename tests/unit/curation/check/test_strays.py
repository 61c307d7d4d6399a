"""Files of a dataset folder that are no samples: images without annotation, other files, links that lead nowhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.damaged import check, scene
from tests.pictures import write_picture


@pytest.mark.parametrize("scheme", ["csv", "yolo", "folder"])
def test_everything_in_the_folder_is_accounted_for(tmp_path: Path, scheme: str) -> None:
    root, place = tmp_path / "set", {"csv": "images", "yolo": "images", "folder": "cat"}[scheme]
    for number in range(2):
        write_picture(root / place / f"{number}.png", scene(number))
    for name, content in (("a.psd", b"8BPS"), ("notes.txt", b"x"), ("Thumbs.db", b"x"), ("@eaDir/0.png/S.jpg", b"\xff\xd8\xff\xe0")):
        (root / place / name).parent.mkdir(parents=True, exist_ok=True)
        (root / place / name).write_bytes(content)
    (root / place / "gone.png").symlink_to("/mnt/old/gone.png")
    if scheme == "csv":
        (root / "t.csv").write_text(f"path,label\n{place}/0.png,cat\n")
    if scheme == "yolo":
        (root / "labels").mkdir()
        (root / "labels" / "0.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    data = f"{scheme}:{root / 't.csv' if scheme == 'csv' else root}"
    found = check(data, "detection" if scheme == "yolo" else "classification")
    assert [(each.key, each.text) for each in found.of("link")] == [
        (f"{place}/gone.png", "is a link to /mnt/old/gone.png, which can't be followed: No such file or directory")
    ]
    assert [each.key for each in found.of("passed-over")] == [f"{place}/a.psd"]
    assert [each.key for each in found.of("no-annotation")] == ([f"{place}/1.png"] if scheme == "csv" else [])
