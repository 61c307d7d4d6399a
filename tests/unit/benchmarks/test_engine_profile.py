"""The profile of an engine: which layers are counted, their operations, and the output."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest
import torch

from tests.engines import small_model
from tests.pictures import write_photos
from zoo.benchmarks.engine_profile import Counting, Layer, Profile, main, profile
from zoo.engines import Network
from zoo.engines.openvino import OpenVINO
from zoo.errors import InputError

pytest.importorskip("openvino")
pytestmark = pytest.mark.usefixtures("one_thread")


def layer(seconds: float, kind: str = "Convolution 3×3", network: str = "pictures") -> Layer:
    return Layer(network, f"layer{seconds}", kind, "jit", "fp32", seconds, 2e6, 3e3)


def test_layers_of_one_kind_are_added_up_and_the_rest_is_what_they_leave() -> None:
    found = Profile(1.0, (layer(0.125), layer(0.25, "Pooling"), layer(0.25), layer(0.125, network="boxes")))
    assert found.rest_s == 0.25
    counts = [(count, total.network, total.kind, total.seconds, total.operations, total.bytes) for count, total in found.kinds()]
    assert counts == [
        (2, "pictures", "Convolution 3×3", 0.375, 4e6, 6e3),
        (1, "pictures", "Pooling", 0.25, 2e6, 3e3),
        (1, "boxes", "Convolution 3×3", 0.125, 2e6, 3e3),
    ]


def test_operations_are_those_of_the_convolutions() -> None:
    model = small_model("classification")
    sizes: list[float] = []

    def note(module: torch.nn.Module, inputs: object, output: torch.Tensor) -> None:
        assert isinstance(module, torch.nn.Conv2d)
        sizes.append(2.0 * output.numel() * math.prod(module.weight.shape[1:]))

    handles = [module.register_forward_hook(note) for module in model.modules() if isinstance(module, torch.nn.Conv2d)]
    batch = model.preprocess.batch(torch.rand(3, 3, 32, 32))
    with torch.no_grad():
        model(batch)
    for handle in handles:
        handle.remove()
    found = profile(model, batch, "fp32", rounds=3)
    convolutions = [each for each in found.layers if each.kind.startswith("Convolution")]
    assert sorted(each.operations for each in convolutions) == sorted(sizes)
    assert {each.kind for each in convolutions} == {"Convolution 3×3"}
    assert all(each.seconds >= 0 and each.bytes > 0 and each.precision == "fp32" for each in found.layers)
    assert 0 < sum(each.seconds for each in found.layers) < found.call_s
    assert found.rest_s == pytest.approx(found.call_s - sum(each.seconds for each in found.layers))


def test_both_networks_of_a_detector_are_counted() -> None:
    model = small_model("detection")
    found = profile(model, model.preprocess.batch(torch.rand(1, 3, 64, 96)), "fp32", rounds=2)
    assert {each.network for each in found.layers} == {"pictures", "boxes"}
    assert len({(each.network, each.name) for each in found.layers}) == len(found.layers)
    assert found.rest_s > 0


def test_runs_before_the_count_are_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, module = Counting(), small_model("classification").backbone
    pixels = torch.rand(1, 3, 32, 32)
    converted = engine.convert(Network("pictures", _First(module), (pixels,), ((),)))
    run = engine.start(converted, "fp32", 1)
    run(pixels)
    assert engine.layers()
    engine.forget()
    assert engine.layers() == ()
    run(pixels)
    (counted,) = engine._counted.values()
    assert (counted.runs, counted.before, set(counted.before_s)) == (2, 1, set(counted.means()))
    monkeypatch.setattr(counted, "means", lambda: {"a": 2.0, "b": 1.0})  # OpenVINO averages over all runs
    counted.runs, counted.before, counted.before_s = 4, 1, {"a": 5.0}
    assert counted.counted_s() == {"a": 1.0, "b": 4 / 3}


class _First(torch.nn.Module):
    """A backbone as a network that returns a tuple."""

    def __init__(self, backbone: torch.nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor]:
        return (next(iter(self.backbone(pixels).values())),)


def test_the_command_prints_a_table_or_one_object(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zoo.benchmarks.engine_profile.peaks", lambda: {"fp32": 1e11, "bf16": None, "int8": None})
    photos = write_photos(tmp_path / "photos")
    words = ["--backbone", "resnet8", "--side", "32", "--batch-size", "2", "--rounds", "2", "--precision", "fp32", "--photos", str(photos)]
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["peaks"]["fp32"] == 1e11
    assert found["rest_s"] == pytest.approx(found["call_s"] - sum(each["seconds"] for each in found["layers"]))
    assert main([*words, "--layers", "1", "--task", "face"]) == 0
    out = capsys.readouterr().out
    assert "pictures: Convolution 3×3, fp32" in out
    assert "everything else" in out
    assert "peak performance of matrix multiplication in 10⁹ operations per second: fp32 100;" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--rounds", "0"], "rounds is 0"),
        (["--batch-size", "0"], "batch_size is 0"),
        (["--task", "detektion"], "unknown task 'detektion'. Nearest: detection"),
        (["--photos", "nowhere"], "nowhere is not a folder; .* --photos"),
    ],
)
def test_wrong_flags_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str) -> None:
    photos = write_photos(tmp_path / "photos")
    assert main(["--backbone", "resnet18", "--side", "32", "--precision", "fp32", "--photos", str(photos), *words]) == 2
    assert re.search(message, capsys.readouterr().err)


def test_without_openvino_nothing_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OpenVINO, "missing", classmethod(lambda cls: "needs the package openvino: pip install 'resnet-zoo[openvino]'"))
    model = small_model("classification")
    with pytest.raises(InputError, match="needs the package openvino"):
        profile(model, model.preprocess.batch(torch.rand(1, 3, 32, 32)), "fp32", rounds=1)
