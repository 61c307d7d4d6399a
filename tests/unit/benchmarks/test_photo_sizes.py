"""The benchmark of photos of many sizes: its inputs, measurements and output."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from tests.engines import small_model
from tests.pictures import write_photos
from zoo.benchmarks import photo_sizes, prediction_pipeline
from zoo.benchmarks.photo_sizes import Comparison, compare, equal_size, main, sizes
from zoo.benchmarks.prediction_pipeline import Way
from zoo.images.preprocess import Preprocess
from zoo.models.model import Model

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return write_photos(tmp_path / "photos")


def test_sizes_differ_and_the_equal_one_gives_a_model_as_many_pixels() -> None:
    found = sizes(200)
    assert len(set(found)) == 200
    assert all(0.49 < height / width < 2.04 for height, width in found)
    assert 80 < sum(height > width for height, width in found) < 120
    preprocess = Preprocess("fit", (320, 533))
    seen = [np.prod(preprocess.resized_hw(*size)) for size in found]
    alone = preprocess.resized_hw(*equal_size(found, preprocess))
    assert alone[0] == 320
    assert np.prod(alone) == pytest.approx(np.mean(seen), rel=0.01)


def test_both_folders_are_answered_in_turns(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    travel = prediction_pipeline.travel

    def noted(model: Model, folder: Path, pictures: int, batch_size: int | None, ahead: bool) -> Way:
        seen.append((folder.parent.name, folder.name, len(list(folder.iterdir()))))
        assert pictures == seen[-1][-1]
        return travel(model, folder, pictures, batch_size, ahead)

    monkeypatch.setattr(photo_sizes, "travel", noted)
    monkeypatch.setattr(photo_sizes, "_TURN", 3)
    comparison = compare(small_model("detection"), photos, 5, 2, batch_size=2)
    assert seen == [("many", "000", 3), ("equal", "000", 3), ("equal", "001", 2), ("many", "001", 2)] * 2
    assert len(comparison.many_s) == len(comparison.equal_s) == 2
    assert min(comparison.many_s + comparison.equal_s) > 0
    assert 2 <= comparison.shapes <= 5
    assert len(list(photos.iterdir())) == 3


def test_ratios_by_hand() -> None:
    comparison = Comparison(200, 20, (26.0, 22.0, 24.0), (20.0, 20.0, 25.0))
    assert (comparison.first, comparison.ratio) == (1.3, 1.2)
    assert comparison.met
    assert not Comparison(200, 20, (27.0, 22.0, 24.0), (20.0, 20.0, 25.0)).met
    assert not Comparison(200, 20, (20.0, 27.0, 27.0), (20.0, 20.0, 20.0)).met


def test_what_it_prints(photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(photo_sizes, "build", lambda backbone, task, classes: small_model(task))
    words = ["--photos", str(photos), "--pictures", "3", "--rounds", "1"]
    status = main([*words, "--json"])
    found = json.loads(capsys.readouterr().out)
    assert (status == 0) == found["met"] == (found["ratio"] <= 1.3)
    assert (found["pictures"], found["engine"], found["precision"], len(found["many_s"])) == (3, "eager", "fp32", 1)
    main(words)
    printed = capsys.readouterr().out
    assert "many sizes take " in printed
    assert "target: at most 1.3" in printed


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--photos", "nowhere"], "photo_sizes: nowhere is not a folder; .* --photos"),
        (["--photos", "."], "contains no images"),
        (["--pictures", "0"], "pictures is 0"),
    ],
)
def test_mistakes(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(photo_sizes, "build", lambda backbone, task, classes: small_model(task))
    assert main(words) == 2
    assert re.search(message, capsys.readouterr().err)
