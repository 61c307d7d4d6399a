"""The benchmark of the input pipeline: its inputs, comparisons and output."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from tests.pictures import picture, write_picture
from zoo.benchmarks import input_pipeline
from zoo.benchmarks.harness.inputs import link_files
from zoo.benchmarks.input_pipeline import Comparison, compare, main, one_core, write_phone_photos
from zoo.errors import InputError


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before, before_cv2 = torch.get_num_threads(), cv2.getNumThreads()
    yield
    torch.set_num_threads(before)
    cv2.setNumThreads(before_cv2)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for index in range(4):
        write_picture(tmp_path / "photos" / f"{index}.jpg", picture((200, 0, 0), index, (60, 80)))
    write_picture(tmp_path / "portraits" / "one.png", picture((0, 0, 200), 0, (40, 30)))
    return tmp_path


def test_sides_take_turns_and_the_first_turn_is_not_counted() -> None:
    turns: list[str] = []
    rates = {"ours": iter([1000.0, 20.0, 60.0, 40.0]), "theirs": iter([0.1, 10.0, 10.0, 30.0])}

    def side(name: str) -> float:
        turns.append(name)
        return next(rates[name])

    line = compare("x", lambda: side("ours"), lambda: side("theirs"), 4.0, 3)
    assert turns == ["ours", "theirs"] * 4
    assert (line.ours, line.theirs, line.ratio, line.met) == (40.0, 10.0, 4.0, True)
    assert not Comparison("x", 39.9, 10.0, 4.0).met


def test_phone_photos_have_twelve_megapixels(data: Path, tmp_path: Path) -> None:
    (file,) = (write_phone_photos(data / "portraits", tmp_path / "scratch") / "all").iterdir()
    with Image.open(file) as phone:
        assert (phone.format, phone.size) == ("JPEG", (3000, 4000))
        # noise with a standard deviation of 4, plus the enlarged noise of the small image
        assert 3 < np.asarray(phone)[:400, :400, 2].astype(float).std() < 25


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system has no affinity")
def test_one_core_is_one_core_and_the_others_come_back() -> None:
    before = os.sched_getaffinity(0)
    with one_core():
        assert len(os.sched_getaffinity(0)) == 1
    assert os.sched_getaffinity(0) == before


def test_links_keep_the_order_of_the_files(data: Path, tmp_path: Path) -> None:
    files = [data / "photos" / "2.jpg", data / "portraits" / "one.png", data / "photos" / "2.jpg"]
    links = sorted(link_files(files, tmp_path / "scratch" / "links").iterdir())
    assert [link.name for link in links] == ["000000.jpg", "000001.png", "000002.jpg"]
    assert [link.resolve() for link in links] == [file.resolve() for file in files]


def test_json_holds_every_comparison(data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(input_pipeline, "_MEGAPIXELS", 0.1)
    status = main(["--data", str(data), "--rounds", "1", "--json"])
    report = json.loads(capsys.readouterr().out)
    assert [line["bound"] for line in report["comparisons"]] == [1.15, 3.0, 1.7]
    for line in report["comparisons"]:
        assert line["ratio"] == line["ours"] / line["theirs"] > 0
        assert line["met"] == (line["ratio"] >= line["bound"])
    assert status == (0 if all(line["met"] for line in report["comparisons"]) else 1)


@pytest.mark.parametrize(("ours", "status", "word"), [(2.0, 0, "yes"), (1.0, 1, "no")])
def test_the_table_says_whether_bounds_are_met(
    ours: float, status: int, word: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(input_pipeline, "run", lambda data, rounds: [Comparison("photos", ours, 1.0, 1.5)])
    assert main([]) == status
    assert f"│ {word} " in capsys.readouterr().out


def test_absent_data_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--data", str(tmp_path)]) == 2
    assert re.search(rf"input_pipeline: {tmp_path / 'photos'} is not a folder; .* --data", capsys.readouterr().err)
    with pytest.raises(InputError, match=r"portraits is not a folder; .* --data"):
        write_phone_photos(tmp_path / "portraits", tmp_path)
