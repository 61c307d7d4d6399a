"""The files that `zoo.export` and `zoo.save` write for a compiled model, and the errors of loading and replacing them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import pytest
import torch

import zoo
from tests.engines import small_model
from zoo.engines import ENGINES
from zoo.errors import InputError, UnknownNameError, WeightsError
from zoo.models.compiled import Compiled

pytestmark = pytest.mark.usefixtures("one_thread")


def test_what_is_exported_says_what_it_is(tmp_path: Path) -> None:
    made = zoo.export(small_model("classification"), tmp_path / "out", "torch")
    content = json.loads((tmp_path / "out" / "model.json").read_text(encoding="utf-8"))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["labels.txt", "model.json", "pictures.pt2"]
    assert content["compiled"]["networks"] == [{"name": "pictures", "file": "pictures.pt2", "size_hw": [32, 32]}]
    assert content["classes"] == ["cat", "dog", "eel"]
    assert content["preprocess"]["size_hw"] == [32, 32]
    assert made.making.engine == "eager"
    assert zoo.info(str(tmp_path / "out"))["compiled"]["engine"] == "eager"


@pytest.mark.parametrize(
    ("task", "precision", "tolerance"),
    [("classification", "fp32", 1e-5), ("detection", "fp32", 1e-5), ("detection", "bf16", 0.02), ("face", "bf16", 0.02)],
)
def test_torchs_graphs_answer_as_the_model_does(task: str, precision: Literal["fp32", "bf16"], tolerance: float, tmp_path: Path) -> None:
    made = zoo.compile(small_model(task), "eager", precision)
    pixels = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    loaded = zoo.load(zoo.save(made, tmp_path / "out"))
    assert isinstance(made, Compiled)
    assert isinstance(loaded, Compiled)
    assert loaded.precision == precision
    for ours, theirs in zip(loaded.tensors(pixels), made.tensors(pixels), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


def test_what_cannot_be_exported(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"unknown export format 'tensorrt'\. .*onnx"):
        zoo.export(small_model("classification"), tmp_path / "out", "tensorrt")
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "letter.txt").write_text("dear")
    with pytest.raises(InputError, match="own"):
        zoo.export(small_model("classification"), tmp_path / "own", "torch")
    assert (tmp_path / "own" / "letter.txt").read_text() == "dear"


def test_an_exported_model_is_what_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "out"
    zoo.export(small_model("classification"), folder, "torch")
    with pytest.raises(InputError, match=r"options of an exported model are fixed \(image_size\)"):
        zoo.load(folder, image_size=64)
    with pytest.raises(WeightsError, match="an exported model contains the graphs of one engine and no weights"):
        zoo.build("resnet20", weights=folder)
    monkeypatch.setattr(ENGINES["eager"], "package", "no_such_package")
    with pytest.raises(InputError, match="the engine eager needs the package no_such_package"):
        zoo.load(folder)


def test_a_graph_that_holds_for_some_sizes_alone_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoo.compilation.conversion.relative_error", lambda wanted, got: 0.1)
    with pytest.raises(
        InputError, match=r"the engine eager computes the network 'pictures' incorrectly for image sizes other .* off by 0\.1 "
    ):
        zoo.export(small_model("detection"), tmp_path / "out", "torch", precision="fp32")
    assert not (tmp_path / "out").exists()


def test_pictures_that_a_graph_cannot_take_are_said(tmp_path: Path) -> None:
    zoo.export(small_model("detection"), tmp_path / "out", "torch", precision="fp32")
    loaded = zoo.load(tmp_path / "out")
    with pytest.raises(InputError, match=r"pictures\.pt2: this graph doesn't support inputs of shape \(1, 4, 8, 8\) \(.*\); use the model"):
        loaded.tensors(torch.zeros(1, 4, 8, 8))  # type: ignore[operator]  # of a compiled model


def test_torchs_graph_of_a_detector_takes_images_whose_last_feature_map_is_one_pixel(tmp_path: Path) -> None:
    model = small_model("detection")
    zoo.export(model, tmp_path / "out", "torch", precision="fp32")
    loaded, eager = zoo.load(tmp_path / "out"), zoo.compile(model, "eager", "fp32")
    assert isinstance(loaded, Compiled)
    assert isinstance(eager, Compiled)
    for size_hw in ((64, 64), (32, 96), (8, 8)):
        pixels = torch.rand(2, 3, *size_hw, generator=torch.Generator().manual_seed(1))
        for ours, theirs in zip(loaded.tensors(pixels), eager.tensors(pixels), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_a_network_of_one_size_says_so(dlib_model: Any, tmp_path: Path) -> None:
    fast = zoo.compile(dlib_model, engine="eager")
    assert fast(torch.zeros(1, 3, 120, 120, dtype=torch.uint8)).shape == (1, 128)  # a compiled model also has a graph for any size
    loaded = zoo.load(zoo.save(fast, tmp_path / "out"))
    assert loaded(torch.zeros(1, 3, 150, 150, dtype=torch.uint8)).shape == (1, 128)
    with pytest.raises(InputError, match="accepts images of 150×150 pixels, not of 120×120; export it at that size"):
        loaded(torch.zeros(1, 3, 120, 120, dtype=torch.uint8))
