"""Reading ahead and writing behind the network: images are read early and written late, and nothing else changes."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.finders import BrightFinder
from tests.pictures import COLOURS, cut_short, picture, write_class_folders, write_video
from zoo.errors import DataError, Fault, ImageError, InputError
from zoo.models.builder import build
from zoo.models.model import Model
from zoo.prediction.output import write_predictions
from zoo.prediction.predict import predict
from zoo.system.hardware import pick_decoding_threads
from zoo.tasks.classification.predictions import Classification
from zoo.tasks.face.detection.faces import Found

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def model() -> Model:
    torch.manual_seed(0)
    return build("resnet20", classes=["a", "b", "c"])


def answers(model: Model, source: Any, **options: Any) -> list[Any]:
    return list(predict(model, source, **options))


def ahead() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("zoo-ahead")]


@pytest.mark.slow
@pytest.mark.parametrize("task", ["classification", "detection"])
def test_looking_ahead_changes_no_bit(task: str, shared_data: Path) -> None:
    torch.manual_seed(0)
    network = build("resnet18", task, classes=["a", "b"])
    photos = sorted((shared_data / "photos").iterdir())[:6]
    size = 4 if task == "classification" else 2
    plain, early = (answers(network, photos, batch_size=size, look_ahead=look_ahead) for look_ahead in (0, None))
    for one, other in zip(plain, early, strict=True):
        assert one.key == other.key
        for name, value in vars(one).items():
            assert np.array_equal(value, getattr(other, name)), name
    assert ahead() == []


def test_a_video_and_more_are_read_ahead_in_order(model: Model, tmp_path: Path) -> None:
    path = write_video(tmp_path / "film.avi", list(COLOURS.values()) * 9)
    red = picture(COLOURS["red"])
    source = [path, red, path]
    plain, early = (answers(model, source, batch_size=4, look_ahead=look_ahead) for look_ahead in (0, None))
    frames = [f"{path}#{index}" for index in range(9 * len(COLOURS))]
    assert [one.key for one in plain] == [one.key for one in early] == [*frames, "array 1", *frames]
    for one, other in zip(plain, early, strict=True):
        assert np.array_equal(one.image, other.image)
        assert np.array_equal(one.probabilities, other.probabilities)


def test_a_video_without_frames(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_video(tmp_path / "film.avi", [COLOURS["red"]])
    monkeypatch.setattr(cv2, "VideoCapture", lambda source: Capture(0))
    with pytest.raises(DataError, match=r"film\.avi contains no readable frames"):
        answers(model, path)


class Capture:
    """A fake camera or video with a fixed number of frames that counts the frames read."""

    def __init__(self, frames: int) -> None:
        self.frames, self.read_frames, self.released = frames, 0, False

    def isOpened(self) -> bool:
        return True

    def read(self) -> tuple[bool, Any]:
        assert not self.released
        if self.read_frames == self.frames:
            return False, None
        self.read_frames += 1
        return True, np.full((32, 48, 3), self.read_frames, np.uint8)

    def release(self) -> None:
        self.released = True


def test_a_camera_is_never_read_ahead(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Capture] = []

    def capture(source: int) -> Capture:
        opened.append(Capture(9))
        return opened[-1]

    monkeypatch.setattr(cv2, "VideoCapture", capture)
    found = predict(model, 0)
    for done in range(1, 4):
        assert next(found).key == f"camera 0#{done - 1}"
        assert opened[0].read_frames == done
    found.close()
    assert opened[0].released
    red = picture(COLOURS["red"])
    found = predict(model, [red, red, 0], batch_size=1)
    next(found)
    assert len(opened) == 1  # a camera among other sources is opened at its turn
    assert [next(found).key, next(found).key] == ["array 1", "camera 0#0"]
    assert opened[1].read_frames == 1
    found.close()
    assert opened[1].released


class Arrays:
    """An iterable of images that counts how many have been taken."""

    def __init__(self, number: int) -> None:
        self.number, self.taken = number, 0

    def __iter__(self) -> Iterator[Any]:
        for _ in range(self.number):
            self.taken += 1
            yield picture(COLOURS["red"])


class ArrayList(Arrays, Sequence[Any]):
    def __len__(self) -> int:
        return self.number

    def __getitem__(self, index: Any) -> Any:
        raise AssertionError("the list must be iterated over, not indexed")


def test_arrays_of_an_iterator_are_taken_at_their_turn(model: Model) -> None:
    source = Arrays(9)
    for done, _ in enumerate(predict(model, source, batch_size=1), start=1):
        assert source.taken == done


@pytest.mark.parametrize(("look_ahead", "beyond"), [(0, 0), (3, 3), (None, 2 + pick_decoding_threads())])
def test_a_list_is_read_ahead_by_the_window(model: Model, look_ahead: int | None, beyond: int) -> None:
    source = ArrayList(40)
    found = predict(model, source, batch_size=2, look_ahead=look_ahead)
    next(found)
    assert source.taken == 2 + beyond
    next(found)
    assert source.taken == 2 + beyond
    found.close()
    assert ahead() == []


def test_photos_of_faces_are_taken_as_they_are_looked_at(tmp_path: Path) -> None:
    torch.manual_seed(0)
    source = ArrayList(9)
    taken = []

    class Looking(BrightFinder):
        def __call__(self, image: NDArray[np.uint8]) -> Found:
            taken.append(source.taken)
            return super().__call__(image)

    found = answers(build("resnet18", "face"), source, batch_size=9, detector=Looking())
    assert len(found) == 9
    assert taken == [min(9, number + 1 + pick_decoding_threads()) for number in range(1, 10)]


@pytest.mark.parametrize(("cores", "threads"), [(1, 1), (2, 1), (3, 1), (4, 2), (64, 2)])
def test_threads_suit_the_cores(cores: int, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoo.system.hardware.usable_cores", lambda: cores)
    assert pick_decoding_threads() == threads


@pytest.mark.parametrize("look_ahead", [0, None])
def test_faults_are_listed_in_their_order(model: Model, tmp_path: Path, look_ahead: int | None) -> None:
    write_class_folders(tmp_path, per_class=3, suffix=".jpg")
    bad = [cut_short(tmp_path / name) for name in ("blue/1.jpg", "green/0.jpg", "red/2.jpg")]
    skipped: list[Fault] = []
    found = answers(model, tmp_path, batch_size=2, on_error="skip", skipped=skipped, look_ahead=look_ahead)
    assert len(found) == 6
    assert [fault.key for fault in skipped] == [str(path) for path in bad]
    before: list[Any] = []
    with pytest.raises(ImageError, match=r"blue/1\.jpg"):
        before.extend(predict(model, tmp_path, batch_size=1, look_ahead=look_ahead))
    assert [Path(one.key).name for one in before] == ["0.jpg"]
    assert ahead() == []


def test_a_window_below_nought(model: Model) -> None:
    with pytest.raises(InputError, match="look_ahead is -1; expected 0 or more"):
        predict(model, picture(COLOURS["red"]), look_ahead=-1)


# -- written -----------------------------------------------------------------------------------------------------------


class Slow(Classification):
    """A prediction whose drawing is slow and counted, and fails for the key "bad"."""

    drawn = 0

    def plot(self) -> Any:
        time.sleep(0.01)
        if self.key == "bad":
            raise OSError("no room")
        type(self).drawn += 1
        return super().plot()


def slow(keys: Sequence[str], asked: list[str]) -> Iterator[Slow]:
    try:
        for key in keys:
            asked.append(key)
            yield Slow(key, picture(COLOURS["red"]), np.array([0.5, 0.5], np.float32), ("a", "b"))
    finally:
        asked.append("closed")


@pytest.mark.parametrize("waiting", [0, 4])
def test_no_more_than_a_few_wait_to_be_drawn(tmp_path: Path, waiting: int) -> None:
    Slow.drawn = 0
    asked: list[str] = []
    shown: list[int] = []
    keys = [f"{index}.jpg" for index in range(12)]
    write_predictions(slow(keys, asked), tmp_path / "out", lambda answer: shown.append(len(asked) - Slow.drawn), waiting=waiting)
    assert max(shown) <= waiting + 1
    assert len(os.listdir(tmp_path / "out")) == 13
    lines = [json.loads(line) for line in (tmp_path / "out" / "predictions.jsonl").read_text().splitlines()]
    assert [line["key"] for line in lines] == keys
    assert ahead() == []


@pytest.mark.parametrize("keys", [["a", "bad", *"cdefghijklmn"], ["a", "bad"]])
def test_what_goes_wrong_in_writing_comes_out(tmp_path: Path, keys: list[str]) -> None:
    asked: list[str] = []
    with pytest.raises(OSError, match="no room"):
        write_predictions(slow(keys, asked), tmp_path / "out")
    assert asked[-1] == "closed"
    assert len(asked) <= 8
    assert os.listdir(tmp_path) == []
    assert ahead() == []


def test_an_interrupt_leaves_no_folder_and_no_thread(model: Model, tmp_path: Path) -> None:
    write_class_folders(tmp_path / "in", per_class=2)

    def show(answer: dict[str, Any]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_predictions(predict(model, tmp_path / "in", batch_size=2), tmp_path / "out", show)
    assert os.listdir(tmp_path) == ["in"]
    assert ahead() == []
