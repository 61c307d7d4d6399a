"""The benchmark of `zoo predict`: what it measures, its output and its errors."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch

from tests.pictures import write_photos
from zoo.benchmarks.harness import inputs
from zoo.benchmarks.prediction_pipeline import Comparison, Way, compare, main
from zoo.models.builder import build

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return write_photos(tmp_path / "photos")


def test_both_kinds_of_passes_alternate(photos: Path) -> None:
    torch.manual_seed(0)
    comparison = compare(build("resnet20", classes=["a", "b"]), photos, 20, 2, batch_size=4)
    assert len(comparison.ahead) == len(comparison.plain) == 2
    for way in (*comparison.ahead, *comparison.plain):
        assert 0 < way.network < way.seconds
        assert len(way.memory_mib) == 3
        assert min(way.memory_mib) > 50
    assert len(list(photos.iterdir())) == 3


def test_a_film_goes_the_same_way(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--photos", str(photos), "--pictures", "12", "--rounds", "1", "--backbone", "resnet20", "--video", "--json"]
    assert main(words) in (0, 1)
    found = json.loads(capsys.readouterr().out)
    assert found["pictures"] == 12
    for way in (*found["ahead"], *found["plain"]):
        assert len(way["memory_mib"]) == 3, "memory is measured after a tenth, half and all of the 12 frames"


def test_shares_and_growth_by_hand() -> None:
    way = Way(10.0, 9.0, (100.0, 103.0, 96.0))
    assert (way.share, way.growth) == (0.9, 0.04)
    assert Comparison(20, (way,), ()).met
    assert not Comparison(20, (Way(10.0, 7.0, (100.0, 100.0, 100.0)),), ()).met
    later = Way(10.0, 9.0, (100.0, 100.0, 100.0))
    assert not Comparison(20, (Way(10.0, 9.0, (100.0, 100.0, 106.0)), later), ()).met  # only the growth of the first pass counts


def test_what_it_prints(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--photos", str(photos), "--pictures", "10", "--rounds", "1", "--backbone", "resnet20", "--batch-size", "2"]
    status = main([*words, "--json"])
    found = json.loads(capsys.readouterr().out)
    assert (status == 0) == found["met"]
    assert (found["pictures"], found["backbone"], found["engine"], found["precision"]) == (10, "resnet20", "eager", "fp32")
    assert found["share"] == found["ahead"][0]["network"] / found["ahead"][0]["seconds"]
    main(words)
    printed = capsys.readouterr().out
    assert [line.split()[1] for line in printed.splitlines() if line.startswith("│")] == ["prefetching", "sequential"]
    assert "memory of the first pass with prefetching, after 10%, 50%, 100% of the images: " in printed
    assert "target: at least 80%" in printed


def test_an_engine_computes_it(photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    asked = []

    def compile(model: object, engine: str, precision: str, **options: object) -> object:
        asked.append((engine, precision, options["data"]))
        return model

    monkeypatch.setattr(inputs, "compile", compile)
    words = ["--photos", str(photos), "--pictures", "10", "--rounds", "1", "--backbone", "resnet20", "--engine", "openvino"]
    main([*words, "--precision", "bf16"])
    main([*words, "--precision", "int8"])
    assert asked == [("openvino", "bf16", None), ("openvino", "int8", str(photos))]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--photos", "no/where"], "no/where is not a folder; .* --photos"),
        (["--photos", "benchmarks/suites"], "contains no images"),
        (["--pictures", "9"], "pictures is 9; expected 10 or more"),
        (["--rounds", "0"], "rounds is 0"),
    ],
)
def test_wrong_input(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--backbone", "resnet20", *words]) == 2
    assert re.search(message, capsys.readouterr().err)
