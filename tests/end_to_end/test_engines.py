"""Engines from the command line, on real images and weights: compiled, quantised, exported, and run without the zoo."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import zoo
from zoo.cli.main import main
from zoo.engines import ENGINES

pytestmark = pytest.mark.slow


def _needs(engine: str) -> None:
    missing = ENGINES[engine].missing()
    if missing is not None:
        pytest.skip(missing)


@pytest.fixture(scope="module")
def model_flags(shared_data: Path) -> list[str]:
    (weights,) = (shared_data / "weights").glob("resnet20*")
    return ["--backbone", "resnet20", "--weights", str(weights)]


def _printed(words: list[str], capsys: pytest.CaptureFixture[str]) -> Any:
    assert main([*words, "--json", "--quiet"]) == 0
    return json.loads(capsys.readouterr().out)  # standard output is JSON only


def test_eight_bits_keep_the_score(model_flags: list[str], cifar_part: Path, shared_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _needs("openvino")
    data = f"folder:{cifar_part}"
    flags = ["--engine", "openvino", "--precision", "int8", "--calibration", f"folder:{shared_data / 'cifar10' / 'train'}?limit=500"]
    plain = _printed(["eval", *model_flags, "--data", data, "--replicates", "0"], capsys)
    found = _printed(["eval", *model_flags, "--data", data, "--replicates", "0", *flags], capsys)
    assert found["n"] == plain["n"] == 2000
    assert found["scores"]["top1"] == pytest.approx(plain["scores"]["top1"], abs=0.015)  # which layers are int8 was decided on 500 images
    assert found["scores"]["top1"] != plain["scores"]["top1"], "nothing was quantised"
    assert found["precision"] == "int8"
    assert found["details"]["engine"]["agreement"]["score"] == "top1"


def test_an_exported_graph_is_run_by_onnx_runtime_alone(
    model_flags: list[str], shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _needs("onnxruntime")
    import onnx
    import onnxruntime

    said = _printed(["export", *model_flags, "--format", "onnx", "--out", str(tmp_path / "out")], capsys)
    assert said["files"] == ["infer.py", "labels.txt", "model.json", "model.onnx"]
    onnx.checker.check_model(tmp_path / "out" / "model.onnx", full_check=True)
    session = onnxruntime.InferenceSession(tmp_path / "out" / "model.onnx")
    model = zoo.build("resnet20", weights=model_flags[-1])
    for count in (1, 7):
        pixels = np.random.default_rng(count).random((count, 3, 32, 32), dtype=np.float32)
        (logits,) = session.run(None, {session.get_inputs()[0].name: pixels})
        with torch.inference_mode():
            np.testing.assert_allclose(logits, model(torch.from_numpy(pixels)).numpy(), atol=1e-4)
    data = f"folder:{shared_data / 'cifar10' / 'test'}?limit=500"
    before = _printed(["eval", *model_flags, "--data", data, "--replicates", "0"], capsys)
    after = _printed(["eval", str(tmp_path / "out"), "--data", data, "--replicates", "0"], capsys)
    assert after["scores"] == pytest.approx(before["scores"], abs=1e-6)


def test_pictures_are_answered_by_the_quickest(
    model_flags: list[str], shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _needs("openvino")
    folder = shared_data / "portraits"
    plain = _printed(["predict", *model_flags, str(folder)], capsys)
    fast = _printed(["predict", *model_flags, str(folder), "--engine", "auto", "--tune-seconds", "15"], capsys)
    assert [each["name"] for each in fast["predictions"]] == [each["name"] for each in plain["predictions"]]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--precision", "int8"], "int8 requires images for calibration: pass data= (--calibration)"),
        (["--calibration", "demo:digits"], "--calibration requires --engine, which is not set"),
        (["--engine", "openvino", "--precision", "fp16"], "--precision fp16 requires a GPU, but --engine computes on the CPU"),
        (["--engine", "openvino", "--device", "cuda"], "it can't be combined with --device cuda"),
        (["--engine", "opnvino"], "unknown engine 'opnvino'. Nearest: openvino"),
    ],
)
def test_flags_that_do_not_go_together(flags: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", "--backbone", "resnet20", "--classes", "0,1", "--data", "demo:digits", "--quiet", *flags]) == 2
    assert message in capsys.readouterr().err


def test_an_attack_needs_gradients(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--attack", "fgsm", "--engine", "openvino"]
    assert main(["eval", "--backbone", "resnet20", "--classes", "0,1", "--data", "demo:digits?classes=0,1", "--quiet", *flags]) == 2
    assert "--attack needs gradients" in capsys.readouterr().err


def test_an_exported_model_goes_without_an_engine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "out")
    model = ["--backbone", "resnet20", "--classes", "0,1", "--precision", "fp32"]
    assert main(["export", *model, "--format", "torch", "--out", out, "--quiet"]) == 0
    assert "exported to" in capsys.readouterr().out
    assert main(["eval", out, "--data", "demo:digits?classes=0,1", "--quiet", "--engine", "inductor"]) == 2
    assert "the model is already exported (engine eager, fp32)" in capsys.readouterr().err
