"""Sources of predictions: paths, lists, patterns, URLs, folders of videos, and animated images."""

from __future__ import annotations

import io
import os
import struct
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from tests.listening import Listening
from tests.pictures import COLOURS, cut_short, picture, write_picture, write_video
from zoo.errors import DataError, Fault, ImageError, InputError
from zoo.images.decoding import Decoding
from zoo.models.builder import build
from zoo.models.model import Model
from zoo.prediction.predict import predict
from zoo.prediction.sources import Frame, FrameReader, open_source
from zoo.tasks.classification.predictions import Classification

pytestmark = pytest.mark.usefixtures("one_thread")

RED, GREEN = COLOURS["red"], COLOURS["green"]


class Reading:
    """Reads the images of sources one by one, without a model."""

    def __init__(self, skip: bool = False, max_pixels: int = 10_000) -> None:
        self.said: list[str] = []
        self.faults: list[Fault] = []
        self._reader = FrameReader(Decoding(max_pixels=max_pixels), "skip" if skip else "raise", (), self.said.append)

    def __call__(self, source: Any) -> list[Frame]:
        jobs, total = open_source(source, self._reader)
        made = [job.run() for job in jobs]
        self.faults = [one for one in made if isinstance(one, Fault)]
        if isinstance(source, str | Path) and self._reader.on_error == "raise":
            assert total in (0, len(made))
        return [one for one in made if isinstance(one, Frame)]


def keys(source: Any, **options: Any) -> list[str]:
    return [frame.key for frame in Reading(**options)(source)]


def animation(path: Path, kind: str) -> Path:
    frames = [Image.new("RGB", (48, 32), colour) for colour in COLOURS.values()]
    options = {"lossless": True} if kind == "WEBP" else {}
    frames[0].save(path, kind, save_all=True, append_images=frames[1:], **options)
    return path


@pytest.mark.parametrize(("name", "kind"), [("a.gif", "GIF"), ("a.webp", "WEBP"), ("a.png", "PNG"), ("a.jpg", "GIF")])
def test_an_animated_image_gives_its_frames(name: str, kind: str, tmp_path: Path) -> None:
    path = animation(tmp_path / name, kind)
    reading = Reading()
    with path.open("rb") as file:
        sources = [(frames, str(path)) for frames in map(reading, (path, file, [path]))]
    for frames, key in [*sources, (reading(path.read_bytes()), "image")]:
        assert [frame.key for frame in frames] == [f"{key}#{index}" for index in range(3)]
        assert [tuple(frame.image[16, 24].tolist()) for frame in frames] == list(COLOURS.values())
        assert reading.said.pop(0 if key != "image" else -1) == f"{key} is animated; each frame is a separate image"
    with pytest.raises(ImageError, match="is too large: 48×32 pixels"):
        Reading(max_pixels=1000)(path)


@pytest.mark.parametrize("kind", ["GIF", "WEBP"])
def test_a_still_gif_is_one_image(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{kind.lower()}"
    Image.new("RGB", (48, 32), RED).save(path, kind, **({"lossless": True} if kind == "WEBP" else {}))
    reading = Reading()
    (frame,) = reading(path)
    assert (frame.key, frame.image[16, 24].tolist(), reading.said) == (str(path), list(RED), [])


def test_a_folder_of_films_and_images(tmp_path: Path) -> None:
    write_video(tmp_path / "b.AVI", [RED, GREEN])
    (tmp_path / "d").mkdir()
    write_video(tmp_path / "d" / "c.avi", [RED])
    write_picture(tmp_path / "a.png", picture(RED))
    animation(tmp_path / "e.gif", "GIF")
    (tmp_path / "notes.txt").write_text("nothing")
    expected = ["a.png", "b.AVI#0", "b.AVI#1", "d/c.avi#0", "e.gif#0", "e.gif#1", "e.gif#2"]
    assert [key.removeprefix(f"{tmp_path}/") for key in keys(tmp_path)] == expected
    (tmp_path / "b.AVI").write_bytes(b"no film")
    with pytest.raises(DataError, match=r"b\.AVI can't be opened as a video"):
        keys(tmp_path)
    reading = Reading(skip=True)
    assert len(reading(tmp_path)) == 5
    assert [(fault.key, fault.reason[:26]) for fault in reading.faults] == [(str(tmp_path / "b.AVI"), "can't be opened as a video")]


def test_a_damaged_animation_in_a_folder_is_skipped(tmp_path: Path) -> None:
    path = animation(tmp_path / "e.gif", "GIF")
    write_picture(tmp_path / "f.png", picture(RED))
    path.write_bytes(path.read_bytes()[:-25])
    with pytest.raises(ImageError, match=r"e\.gif: is"):
        keys(tmp_path)
    reading = Reading(skip=True)
    assert reading(tmp_path)[-1].key == str(tmp_path / "f.png")
    assert [fault.key for fault in reading.faults][:1] == [str(path)]


def test_patterns(tmp_path: Path) -> None:
    for name in ("a.png", "b.png", "c.jpg", "sub/d.png", "x[1].png"):
        write_picture(tmp_path / name, picture(RED))
    (tmp_path / "b.txt").write_text("nothing")
    names = {
        "*.png": ["a.png", "b.png", "x[1].png"], "?.*": ["a.png", "b.png", "c.jpg"], "**/d.png": ["sub/d.png"], "s*": ["sub/d.png"],
        "x[1].png": ["x[1].png"],
    }  # fmt: skip
    for pattern, expected in names.items():
        reading = Reading()
        assert [frame.key.removeprefix(f"{tmp_path}/") for frame in reading(str(tmp_path / pattern))] == expected
        passed = f"{tmp_path}/?.*: files that are neither images nor videos, ignored: 1, {tmp_path}/b.txt"
        assert reading.said == ([passed] if pattern == "?.*" else [])
    with pytest.raises(DataError, match=r"no file matches .*\*\.webp"):
        keys(str(tmp_path / "*.webp"))
    with pytest.raises(DataError, match=r"\*\.txt matches no image, video or folder, only other files: 1, "):
        keys(str(tmp_path / "*.txt"))


@pytest.mark.parametrize("suffix", [".txt", ".LST"])
def test_lists(suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("data/a b.png", "data/c.png", "here.png", "folder/d.png"):
        write_picture(tmp_path / name, picture(RED))
    film = write_video(tmp_path / "film.avi", [RED])
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "data" / f"list{suffix}"
    lines = ["a b.png", '"c.png"', "", "here.png", str(film), "folder", f"file://{tmp_path}/here.png"]
    file.write_bytes(("\r\n".join(lines)).encode("utf-8-sig"))
    assert keys(file) == [
        f"{tmp_path}/data/a b.png", f"{tmp_path}/data/c.png", "here.png", f"{film}#0", "folder/d.png", f"{tmp_path}/here.png",
    ]  # fmt: skip
    file.write_text("c.png\ngone.png\n")
    with pytest.raises(DataError, match=rf"line 2: 'gone\.png' does not exist, neither in .*data nor in {tmp_path}"):
        keys(file)
    reading = Reading(skip=True)
    assert [frame.key for frame in reading(file)] == [f"{tmp_path}/data/c.png"]
    assert [fault.key for fault in reading.faults] == [f"{file}, line 2"]
    file.write_text("\n")
    with pytest.raises(DataError, match="lists no files; expected one path per line"):
        keys(file)


def test_urls(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_picture(tmp_path / "a b.png", picture(RED))
    for url in (f"file://{tmp_path}/a%20b.png", f"FILE:{tmp_path}/a b.png", f"file://{tmp_path}/a%20b.png?bands=2,1,0"):
        (frame,) = Reading()(url)
        assert frame.key == f"{tmp_path}/a b.png"
        assert (frame.image[..., 2 if "bands" in url else 0] > 150).all()
    for url in ("http://127.0.0.1:1/x.jpg", "rtsp://127.0.0.1:1/x"):
        with pytest.raises(DataError) as caught:
            keys(url)
        assert str(caught.value) == f"{url} can't be opened as a stream; check the address, and that it can be reached from here"
    with pytest.raises(InputError, match=r"s3://bucket/x\.jpg is a URL of the scheme s3; expected one of file, rtsp, .*, https"):
        keys("s3://bucket/x.jpg")
    assert capfd.readouterr() == ("", "")


class Live:
    """A stream of three frames that records how many have been read."""

    def __init__(self, source: object) -> None:
        self.source, self.left = source, 3

    def isOpened(self) -> bool:
        return True

    def read(self) -> tuple[bool, Any]:
        self.left -= 1
        return self.left >= 0, np.zeros((32, 48, 3), np.uint8)

    def release(self) -> None:
        pass


@pytest.mark.parametrize(
    ("source", "opened", "early"),
    [
        ("rtsp://camera/1", "rtsp://camera/1", False),
        ("/dev/video3", 3, False),
        (3, 3, False),
        (np.int64(3), 3, False),
        ("https://host/film.mp4?x=1", "https://host/film.mp4?x=1", True),
    ],
)
def test_live_sources_are_not_read_ahead(source: Any, opened: object, early: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Live] = []

    def capture(name: object) -> Live:
        made.append(Live(name))
        return made[-1]

    monkeypatch.setattr(cv2, "VideoCapture", capture)
    jobs, total = open_source(source, FrameReader(Decoding(), "raise", ()))
    assert [(job.early, job.run() is not None) for job in jobs] == [(early, True)] * 3 + [(early, False)]
    assert (made[0].source, total) == (opened, 0)


def test_a_film_of_a_phone_held_upright_is_upright(tmp_path: Path) -> None:
    """The rotation is metadata of the track: a matrix of 3 × 3 fixed-point numbers."""
    path = tmp_path / "a.mp4"
    film = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 5, (128, 96))
    frame = np.zeros((96, 128, 3), np.uint8)
    frame[:24] = (0, 0, 255)  # red at the top of the stored frame, in OpenCV's order
    film.write(frame)
    film.release()
    data = bytearray(path.read_bytes())
    at = data.find(b"tkhd") + 44
    data[at : at + 36] = struct.pack(">9i", 0, 0x10000, 0, -0x10000, 0, 0, 96 << 16, 0, 0x40000000)  # a quarter turn clockwise
    path.write_bytes(data)
    (upright,) = Reading(max_pixels=100_000)(path)
    assert upright.image.shape == (128, 96, 3)
    assert upright.image[64, 90, 0] > 200 > 50 > upright.image[64, 6, 0]


def test_bands_of_paths(tmp_path: Path) -> None:
    write_picture(tmp_path / "a.png", picture(RED))
    for source in (f"{tmp_path}?bands=2,1,0", f"{tmp_path}/a.png?bands=2,1,0", f"{tmp_path}/*.png?bands=2,1,0"):
        (frame,) = Reading()(source)
        assert np.array_equal(frame.image, picture(RED)[..., ::-1])
    with pytest.raises(InputError, match="bands is 'x'; expected one or three numbers"):
        keys(f"{tmp_path}?bands=x")


def test_what_is_left_out_of_a_tiff_is_reported(tmp_path: Path) -> None:
    pages = [Image.new("RGB", (48, 32), colour) for colour in (RED, GREEN)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    model = build("resnet20", classes=["a", "b"])
    listening = Listening()
    (found,) = predict(model, tmp_path / "a.tif", progress=listening)
    assert isinstance(found, Classification)
    assert found.image[0, 0].tolist() == list(RED)
    assert listening.lines == [f"an image has several frames or pages, of which the first is read: 1 image, such as {tmp_path}/a.tif"]


def test_standard_input_on_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from zoo.cli.main import main
    from zoo.models.archive import save

    torch.manual_seed(0)
    save(build("resnet20", classes=["a", "b"]), tmp_path / "model")
    write_picture(tmp_path / "a.png", picture(RED))

    class Input:
        buffer = io.BytesIO((tmp_path / "a.png").read_bytes())

    monkeypatch.setattr("sys.stdin", Input)
    assert main(["predict", os.fspath(tmp_path / "model"), "-", "--quiet"]) == 0
    assert capsys.readouterr().out.startswith('{"key": "image", ')


def test_a_cut_image_in_a_list_is_named(tmp_path: Path) -> None:
    write_picture(tmp_path / "a.jpg", picture(RED))
    cut_short(tmp_path / "a.jpg")
    (tmp_path / "list.txt").write_text("a.jpg\n")
    with pytest.raises(ImageError, match=r"a\.jpg: is cut short"):
        keys(tmp_path / "list.txt")


@pytest.fixture(scope="module")
def model() -> Model:
    torch.manual_seed(0)
    return build("resnet20", classes=["a", "b", "c"])


def test_frames_are_predicted_as_images_are(model: Model, tmp_path: Path) -> None:
    path = animation(tmp_path / "a.gif", "GIF")
    images = [np.full((32, 48, 3), colour, np.uint8) for colour in COLOURS.values()]
    for found, expected in zip(predict(model, path, batch_size=2), predict(model, images, batch_size=2), strict=True):
        assert isinstance(found, Classification)
        assert isinstance(expected, Classification)
        np.testing.assert_array_equal(found.probabilities, expected.probabilities)
