"""Exports with one graph in bf16, fp16 and int8: the size of the files, and answers close to those of eager."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import pytest
import torch

import zoo
from tests.engines import KEEPING
from tests.unit.compilation.whole_graphs import FORMAT, Exports, confident, exports, images, whole
from zoo.benchmarks.single_graph import Difference
from zoo.compilation.agreement import relative_error
from zoo.compilation.conversion import Conversion
from zoo.engines import ENGINES, Tensors
from zoo.models.fingerprint import fingerprints
from zoo.models.model import Model
from zoo.system.hardware import cpu_has_bf16
from zoo.system.precision import EnginePrecision

__all__ = ["exports"]  # a fixture
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]
PIXELS = images(1, 64, 96).float() / 255


@pytest.mark.parametrize("engine", KEEPING)
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_weights_of_16_bits_halve_the_file(engine: str, precision: EnginePrecision, exports: Exports, tmp_path: Path) -> None:
    if precision not in ENGINES[engine].precisions:
        pytest.skip(f"{engine} has no {precision}")
    model, folder = exports(engine, False)
    path = [*sys.path]
    zoo.save(whole(model, engine, precision=precision), tmp_path / "out")
    assert sys.path == path
    sizes = [sum(file.stat().st_size for file in each.glob("model.[ob]*")) for each in (tmp_path / "out", folder)]
    assert sizes[0] < 0.65 * sizes[1]
    loaded, found, pixels = zoo.load(tmp_path / "out"), Difference(), [*images(2, 64, 80)]
    assert loaded.precision == precision
    with torch.inference_mode():
        for one, other in zip(model(pixels), loaded(pixels), strict=True):
            found.add(one, other)
        (wanted, *_), (maps, *_) = model.head.tensors(model.levels(PIXELS)), first_tensors(model, engine, precision)
    assert found.unpaired < 0.1 * found.detections
    error = relative_error(wanted, maps)
    assert 1e-5 < error < (0.003 if precision == "fp16" else 0.03), "rounded to 11 or 8 bits"


def first_tensors(model: Model, engine: str, precision: EnginePrecision) -> Tensors:
    """Return the outputs of the first network with an engine."""
    conversion = Conversion(model, fingerprints(model)["model"], ENGINES[engine](), precision, 1)
    return conversion.started("pictures", None)(PIXELS)


def test_proposals_are_not_rounded_to_bf16(exports: Exports) -> None:
    openvino = pytest.importorskip("openvino")
    if not cpu_has_bf16():
        pytest.skip("needs a processor with bf16")
    graph = openvino.compile_model(exports("openvino", False)[1] / "model.xml", "CPU", {"INFERENCE_PRECISION_HINT": "bf16"})
    details = [operation.get_rt_info() for operation in graph.get_runtime_model().get_ops()]
    kinds = {(each["layerType"].astype(str), each["runtimePrecision"].astype(str)) for each in details}
    assert ("Convolution", "bf16") in kinds
    assert ("Gather", "f32") in kinds
    assert ("Gather", "bf16") not in kinds


@pytest.mark.parametrize("engine", KEEPING)
def test_a_graph_with_8_bit_layers_is_compared_with_eager(engine: str, tmp_path: Path) -> None:
    pytest.importorskip("nncf")
    for place, image in enumerate(images(12, 64, 80)):
        cv2.imwrite(str(tmp_path / f"{place}.png"), image.permute(1, 2, 0).numpy())
    made = zoo.export(confident(), tmp_path / "out", FORMAT[engine], precision="int8", data=str(tmp_path))
    assert made.making.agreement.agreement > 0.5
    assert 1e-3 < made.making.agreement.relative_error < 0.3
    text = (tmp_path / "out" / f"model{ENGINES[engine].suffix}").read_bytes()
    assert (b"QuantizeLinear" if engine == "onnxruntime" else b"FakeQuantize") in text
