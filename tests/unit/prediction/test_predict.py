"""Prediction from every kind of source, with one result per image, and the files that are written."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.pictures import COLOURS, cut_short, picture, write_class_folders, write_picture, write_video
from zoo.data.dataset import Sample
from zoo.errors import DataError, Fault, ImageError, InputError
from zoo.images import decoding
from zoo.models.builder import build
from zoo.models.model import Model
from zoo.prediction.output import write_predictions
from zoo.prediction.predict import predict
from zoo.system.progress import Progress
from zoo.tasks.classification.predictions import Classification

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def model() -> Model:
    torch.manual_seed(0)
    return build("resnet20", classes=["a", "b", "c"])


def answers(model: Model, source: Any, **options: Any) -> list[Any]:
    return list(predict(model, source, **options))


def test_a_file(model: Model, tmp_path: Path) -> None:
    path = tmp_path / "red.png"
    write_picture(path, picture(COLOURS["red"]))
    for source in (path, str(path)):
        (found,) = answers(model, source)
        assert isinstance(found, Classification)
        assert found.key == str(path)
        assert np.array_equal(found.image, picture(COLOURS["red"]))  # the original, in RGB
        expected = model([decoding.read(path)]).softmax(1)[0].detach().numpy()
        np.testing.assert_allclose(found.probabilities, expected, rtol=1e-5)


def test_a_folder_in_order_whatever_the_batch(model: Model, tmp_path: Path) -> None:
    write_class_folders(tmp_path, per_class=2)
    (tmp_path / "notes.txt").write_text("no picture")
    found = answers(model, tmp_path)
    assert [Path(one.key).relative_to(tmp_path).as_posix() for one in found] == [
        "blue/0.png",
        "blue/1.png",
        "green/0.png",
        "green/1.png",
        "red/0.png",
        "red/1.png",
    ]
    one_by_one = answers(model, tmp_path, batch_size=1)
    for first, second in zip(found, one_by_one, strict=True):
        np.testing.assert_allclose(first.probabilities, second.probabilities, rtol=1e-4)


def test_arrays_samples_and_mixtures(model: Model, tmp_path: Path) -> None:
    red = picture(COLOURS["red"])
    write_picture(tmp_path / "red.png", red)
    assert [one.key for one in answers(model, red)] == ["array"]
    found = answers(model, [red, Sample(red, None, "mine"), tmp_path / "red.png", tmp_path])
    path = str(tmp_path / "red.png")
    assert [one.key for one in found] == ["array 0", "mine", path, path]
    assert len({one.probabilities.tobytes() for one in answers(model, [red] * 3, batch_size=1)}) == 1
    assert [one.key for one in answers(model, (red for _ in range(2)))] == ["array 0", "array 1"]


def test_a_dataset(model: Model) -> None:
    from zoo.data.formats import open_data
    from zoo.tasks.classification.datasets import SCHEMES

    digits = open_data("demo:digits?limit=3", SCHEMES, "classification")
    assert [one.key for one in answers(model, digits)] == ["digit-0000", "digit-0001", "digit-0002"]


def test_a_video_frame_by_frame_in_rgb(model: Model, tmp_path: Path) -> None:
    path = write_video(tmp_path / "film.avi", [COLOURS["red"], COLOURS["green"], COLOURS["blue"]])
    found = answers(model, path, batch_size=2)
    assert [one.key for one in found] == [f"{path}#0", f"{path}#1", f"{path}#2"]
    assert [one.image.shape for one in found] == [(32, 48, 3)] * 3
    assert [int(one.image.mean((0, 1)).argmax()) for one in found] == [0, 1, 2]


def test_an_unreadable_picture_stops_or_is_listed(model: Model, tmp_path: Path) -> None:
    write_class_folders(tmp_path, per_class=2, suffix=".jpg")
    bad = cut_short(tmp_path / "green" / "0.jpg")
    with pytest.raises(ImageError, match=str(bad)):
        answers(model, tmp_path)
    skipped: list[Fault] = []
    assert len(answers(model, tmp_path, on_error="skip", skipped=skipped)) == 5
    assert [fault.key for fault in skipped] == [str(bad)]
    assert len(answers(model, [tmp_path], on_error="skip")) == 5


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("no/where", "no/where does not exist; expected an image, a folder, a video, a list of files, a camera number or a URL"),
        (True, "the source is a boolean"),
        (3.5, "the source is a float; expected an image, .* or images in memory: arrays, tensors, PIL images or bytes"),
        (None, "the source is a NoneType"),
        ([3.5], "the source is a float"),
        (np.zeros((4, 4, 2)), r"array is float64 of shape \(4, 4, 2\); expected RGB \[H, W, 3\], grey \[H, W\] or RGBA"),
        ([np.zeros(4, np.int32)], r"array 0 is int32 of shape \(4,\)"),
    ],
)
def test_what_is_no_source(model: Model, source: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        answers(model, source)


def test_places_without_pictures(model: Model, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"contains no images \(files ending in \.jpg"):
        answers(model, tmp_path)
    (tmp_path / "film.mp4").write_bytes(b"no film")
    with pytest.raises(DataError, match=r"film\.mp4 can't be opened as a video; it may be damaged; try converting it to MP4 or AVI"):
        answers(model, tmp_path / "film.mp4")
    with pytest.raises(DataError, match="camera 97 can't be opened as a video; check that it is connected"):
        answers(model, 97)
    with pytest.raises(InputError, match="batch_size is 0"):
        answers(model, picture(COLOURS["red"]), batch_size=0)


# -- a classification --------------------------------------------------------------------------------------------------


def classification() -> Classification:
    return Classification.from_logits("k", picture(COLOURS["red"]), np.log(np.array([0.2, 0.5, 0.3], np.float32)), ("a", "b", "c"))


def test_a_classification_by_hand() -> None:
    found = classification()
    np.testing.assert_allclose(found.probabilities, [0.2, 0.5, 0.3], rtol=1e-6)
    assert (found.label, found.name) == (1, "b")
    assert [name for name, _ in found.top(2)] == ["b", "c"]
    assert found.to_dict()["top"][0] == {"name": "b", "probability": pytest.approx(0.5)}
    json.dumps(found.to_dict(), allow_nan=False)
    assert found.plot().width >= 32
    with pytest.raises(ValueError, match="read-only"):
        found.probabilities[0] = 1


def test_huge_logits_do_not_overflow() -> None:
    found = Classification.from_logits("k", picture((0, 0, 0)), np.array([1e4, -1e4], np.float32), ("a", "b"))
    assert found.probabilities.tolist() == [1, 0]


def test_names_and_probabilities_belong_together() -> None:
    with pytest.raises(ValueError, match=r"probabilities have the shape \(2,\); expected \(1,\), one per class"):
        Classification("k", picture((0, 0, 0)), np.zeros(2, np.float32), ("a",))


# -- written out -------------------------------------------------------------------------------------------------------


def keyed(*keys: str) -> Iterator[Classification]:
    for key in keys:
        found = classification()
        yield Classification(key, found.image, found.probabilities, found.classes)


def test_predictions_become_files(tmp_path: Path) -> None:
    shown: list[dict[str, Any]] = []
    kept = write_predictions(keyed("x/one.png", "y/one.jpg", "film.avi#12", "schön bunt.png"), tmp_path / "out", shown.append, keep=True)
    names = ["one.jpg", "one-2.jpg", "film-000012.jpg", "schön_bunt.jpg"]
    assert sorted(os.listdir(tmp_path / "out")) == sorted([*names, "predictions.jsonl"])
    lines = [json.loads(line) for line in (tmp_path / "out" / "predictions.jsonl").read_text().splitlines()]
    assert lines == kept == shown
    assert [line["drawn"] for line in lines] == names
    assert decoding.read(tmp_path / "out" / "one.jpg").shape[1] >= 32


def test_nothing_is_written_without_a_folder(tmp_path: Path) -> None:
    assert write_predictions(keyed("a"), None) == []
    assert [one["key"] for one in write_predictions(keyed("a", "b"), None, keep=True)] == ["a", "b"]


def test_a_failing_prediction_leaves_no_folder(model: Model, tmp_path: Path) -> None:
    write_class_folders(tmp_path / "in", per_class=2, suffix=".jpg")
    cut_short(tmp_path / "in" / "red" / "1.jpg")
    with pytest.raises(ImageError, match=r"red/1\.jpg"):
        write_predictions(predict(model, tmp_path / "in", batch_size=2), tmp_path / "out")
    assert os.listdir(tmp_path) == ["in"]


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_text("precious")
    with pytest.raises(InputError, match=r"contains no predictions\.jsonl; choose another path"):
        write_predictions(keyed("a"), tmp_path)


@pytest.mark.parametrize("key", ["weird#name.png", "a#b", "#", "no.17#x.jpg"])
def test_keys_with_a_hash_that_are_no_frames(tmp_path: Path, key: str) -> None:
    (answer,) = write_predictions(keyed(key), tmp_path / "out", keep=True)
    assert (tmp_path / "out" / answer["drawn"]).is_file()


# -- progress ----------------------------------------------------------------------------------------------------------


def test_progress_prints_plain_lines_without_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoo.system.progress._PLAIN_SECONDS", -1.0)
    with Progress() as progress:
        progress.say("[bold]as it stands")
        assert list(progress.track("abc", "working", 3)) == ["a", "b", "c"]
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == ["[bold]as it stands", "working: 1/3", "working: 2/3"]
    with Progress(enabled=False) as quiet:
        quiet.say("nothing")
        list(quiet.track("abc", "working", 3))
    assert capsys.readouterr() == ("", "")
