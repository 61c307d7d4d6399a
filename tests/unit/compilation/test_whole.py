"""Exports with one graph: equal to eager for any size, number and type of images, and runnable without the zoo and torch."""

from __future__ import annotations

import importlib
import json
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import zoo
from tests.engines import KEEPING, small_joint, small_model
from tests.unit.compilation.whole_graphs import FORMAT, Exports, confident, exports, images, whole
from zoo.compilation.whole import prepare
from zoo.engines import ENGINES, GraphEngine
from zoo.engines.onnxruntime import OnnxRuntime
from zoo.errors import InputError
from zoo.images.preprocess import Preprocess
from zoo.models.model import Model
from zoo.models.whole import InputType
from zoo.tasks.detection.model.graph import select
from zoo.tasks.detection.model.postprocessing import select_detections

__all__ = ["exports"]  # a fixture
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]
SIZES = [(1, 64, 80), (2, 63, 75), (4, 33, 96), (3, 96, 40), (1, 32, 32)]


def check(wanted: list[dict[str, Any]], found: list[dict[str, Any]]) -> None:
    """Check that every detection has an equal one, up to rounding. Those of nearly equal scores may be in another order."""
    for one, other in zip(wanted, found, strict=True):
        assert len(one["scores"]) == len(other["scores"])
        free = torch.ones(len(other["scores"]), dtype=torch.bool)
        for place, score in enumerate(one["scores"]):
            same = free & (other["labels"] == one["labels"][place]) & ((other["scores"] - score).abs() < 1e-4)
            same &= (other["boxes"] - one["boxes"][place]).abs().amax(1) < 0.05
            for name, values in one.get("attributes", {}).items():
                same &= (other["attributes"][name] - values[place]).abs().amax(1) < 1e-4
            assert same.any(), (place, one["boxes"][place], score)
            free[int(same.int().argmax())] = False


@pytest.mark.parametrize("engine", KEEPING)
def test_a_detector_answers_as_in_eager(engine: str, exports: Exports) -> None:
    model, folder = exports(engine, False)
    loaded, boxes = zoo.load(folder), 0
    for count, *size in SIZES:
        pixels = [*images(count, *size)]
        with torch.inference_mode():
            wanted = model(pixels)
            check(wanted, loaded(pixels))
        boxes += sum(len(each["boxes"]) for each in wanted)
    assert boxes > 100
    mixed = [images(1, height, width, place)[0] for place, (_, height, width) in enumerate(SIZES)]
    with torch.inference_mode():  # in eager, the padding of a batch of several sizes affects its images
        check([model([image])[0] for image in mixed], loaded(mixed))


@pytest.mark.parametrize("engine", KEEPING)
def test_images_without_detections_have_a_count_of_nought(engine: str) -> None:
    made = ENGINES[engine]()
    assert isinstance(made, GraphEngine)
    run = made.start(made.from_onnx(select(confident(score_threshold=0.999).head.roi_heads, {})), "fp32", 1)
    rows, around = torch.tensor([[0, 0], [1, 0]]), torch.tensor([[0.0, 0, 9, 9]]).repeat(2, 1)
    *padding, counts = run(torch.zeros(2, 4), torch.zeros(2, 16), rows, around, around[:, None], torch.tensor([60.0, 70, 1, 1]))
    assert [*counts] == [0, 0]
    assert [tuple(each.shape) for each in padding] == [(2, 3, 4), (2, 3), (2, 3)]
    assert not any(each.any() for each in padding)


@pytest.mark.parametrize("engine", KEEPING)
@pytest.mark.parametrize("task", ["classification", "face", "detection"])
def test_a_graph_that_scales_images_takes_them_as_they_are(engine: str, task: str, exports: Exports) -> None:
    if task == "detection":
        model, folder = exports(engine, True)
        loaded: Model = zoo.load(folder)
        assert json.loads((folder / "model.json").read_text())["preprocess"]["policy"] == "given"
    else:
        model = small_model(task)
        loaded = whole(model, engine, resize=True)
    for size in ((150, 111), (40, 200), (64, 64)):
        pixels = [*images(2, *size)]
        with torch.inference_mode():
            wanted, found = model(pixels), loaded(pixels)
        if task == "detection":
            check(wanted, found)
        else:  # torch scales bytes with weights of 16 bits, the graph with floats
            torch.testing.assert_close(found, wanted, atol=0.02 * float(wanted.abs().max()), rtol=0)


def test_floats_are_rounded_for_a_graph_of_bytes(exports: Exports) -> None:
    pytest.importorskip("onnxruntime")
    loaded = zoo.load(exports("onnxruntime", True)[1])
    pixels = images(1, 64, 80)[0].clamp(1, 254)
    for step, same in ((0.4, pixels), (0.6, pixels + 1), (-0.6, pixels - 1)):
        check(loaded([same]), loaded([(pixels.float() + step) / 255]))


def test_the_selection_is_that_of_eager() -> None:
    """With boxes that are thinner than a hundredth of a pixel, which are dropped, and boxes outside the image."""
    onnxruntime = pytest.importorskip("onnxruntime")
    heads = confident().head.roi_heads
    generator = torch.Generator().manual_seed(1)
    corner = torch.rand(40, 2, generator=generator) * 50
    proposals = torch.cat([corner, corner + 5 + 20 * torch.rand(40, 2, generator=generator)], 1)
    logits, deltas = (torch.randn(40, count, generator=generator) for count in (4, 16))
    deltas[::3, 2::4] = -60.0  # the width is divided by e^12
    session = onnxruntime.InferenceSession(select(heads, {}).SerializeToString())
    rows = np.stack([np.zeros(40, np.int64), np.arange(40)], 1)
    frame = np.array([60, 70, 1, 1], np.float32)
    given = {"logits": logits, "deltas": deltas, "around": proposals, "proposals": proposals[None]}
    values = {name: each.numpy() for name, each in given.items()}
    boxes, scores, labels, counts = session.run(None, {**values, "rows": rows, "frame": frame})
    ((wanted, best, classes, _),) = select_detections(heads, logits, deltas, [proposals], [(60, 70)])
    assert 20 < len(best) < 100
    assert counts.tolist() == [len(best)]
    np.testing.assert_allclose(boxes[0, : len(best)], wanted, atol=1e-4)
    np.testing.assert_allclose(scores[0, : len(best)], best, atol=1e-6)
    assert labels[0, : len(best)].tolist() == (classes - 1).tolist()
    assert not boxes[0, len(best) :].any()


@pytest.mark.parametrize("policy", ["crop", "squash", "fit"])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("input_type", ["float32", "uint8"])
def test_images_are_scaled_as_by_preprocessing(policy: Any, interpolation: Any, antialias: bool, input_type: InputType) -> None:
    pytest.importorskip("onnxruntime")
    preprocess = Preprocess(policy, (48, 64), 0.9, interpolation, antialias)
    engine = OnnxRuntime()
    run = engine.start(engine.from_onnx(prepare(preprocess, input_type, resize=True)), "fp32", 1)
    for size in ((50, 70), (97, 60), (20, 31), (300, 200)):
        pixels = images(2, *size)
        if input_type == "float32":
            pixels = pixels.float() / 255
        batch = preprocess.batch([*pixels])
        found, padded, frame = run(pixels)
        wanted = batch.pixels.float() / (255 if batch.pixels.dtype == torch.uint8 else 1)
        assert padded.tolist() == [*wanted.shape[2:]]
        height, width = batch.sizes_hw[0]
        scaled = preprocess.policy != "crop"
        assert frame[:2].tolist() == [height, width]
        assert not scaled or frame[2:].tolist() == pytest.approx([size[0] / height, size[1] / width])
        levels = 1.01 if input_type == "uint8" and policy != "fit" else 0.01  # bytes are rounded once more
        torch.testing.assert_close(found, wanted, atol=levels / 255, rtol=0)


@pytest.mark.parametrize("engine", KEEPING)
def test_heads_that_share_a_pass_are_one_graph(engine: str, tmp_path: Path) -> None:
    model = small_joint("species", "parts").eval()
    zoo.export(model, tmp_path / "out", FORMAT[engine], precision="fp32")
    loaded: Any = zoo.load(tmp_path / "out")
    content = json.loads((tmp_path / "out" / "model.json").read_text())["compiled"]
    assert [each["name"] for each in content["networks"]] == ["pictures"]
    assert content["whole"]["outputs"] == {
        "pictures": [["species.logits"], [f"parts.{name}" for name in ("boxes", "scores", "labels", "counts")]]
    }
    for size in ((60, 90), (70, 80)):  # after scaling, the second is 73 pixels wide, and its map of three columns is used up to the third
        pixels = [*images(2, *size)]
        with torch.inference_mode():
            wanted, found = model(pixels), loaded(pixels)
            torch.testing.assert_close(found["species"], wanted["species"], atol=1e-5, rtol=0)
            check(wanted["parts"], found["parts"])
            check(wanted["parts"], loaded.view("parts")(pixels))
    assert [*loaded(pixels, tasks=["species"])] == ["species"]
    answer = runpy.run_path(str(tmp_path / "out" / "infer.py"))["answer"](np.zeros((64, 64, 3), np.uint8))
    assert [*answer] == ["species.logits", "parts.boxes", "parts.scores", "parts.labels"]
    assert len(answer["parts.boxes"]) == len(loaded([torch.zeros(3, 64, 64)])["parts"][0]["boxes"])


@pytest.mark.parametrize("engine", KEEPING)
def test_heads_of_two_passes_are_two_graphs(engine: str, tmp_path: Path) -> None:
    model = small_joint("parts", "who").eval()
    loaded = whole(model, engine)
    zoo.save(loaded, tmp_path / "out")
    suffix = ENGINES[engine].suffix
    assert {f"model{suffix}", f"model-2{suffix}", "infer.py"} <= {path.name for path in (tmp_path / "out").iterdir()}
    pixels = [images(1, 60, 90)[0]]
    with torch.inference_mode():
        wanted, found = model(pixels), loaded(pixels)
    torch.testing.assert_close(found["who"], wanted["who"], atol=1e-4, rtol=0)
    check(wanted["parts"], found["parts"])


_WITHOUT_THE_ZOO = """
import importlib, runpy, sys
assert not [each for each in sys.path if each.endswith("packages")]
sys.path.append(sys.argv[1])
for name in ("zoo", "torch", "torchvision", "onnx", "PIL"):
    try:
        importlib.import_module(name)
    except ModuleNotFoundError:
        continue
    sys.exit(f"{name} is importable")
sys.argv = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.parametrize("engine", KEEPING)
@pytest.mark.parametrize("resize", [False, True])
def test_the_script_needs_neither_the_zoo_nor_torch(engine: str, resize: bool, tmp_path: Path, exports: Exports) -> None:
    model, folder = exports(engine, resize)
    picture = images(1, 64, 80)[0]
    np.save(tmp_path / "picture.npy", picture.permute(1, 2, 0).numpy())
    packages = tmp_path / "only-these"
    packages.mkdir()
    for name in ("numpy", ENGINES[engine].package):
        origin = Path(str(importlib.import_module(name).__file__)).parent
        for found in origin.parent.glob(f"{name}*"):  # with the shared libraries in numpy.libs
            if found.name in (name, f"{name}.libs"):
                (packages / found.name).symlink_to(found)
    words = [str(packages), str(folder / "infer.py"), str(tmp_path / "picture.npy")]
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", _WITHOUT_THE_ZOO, *words], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    with torch.inference_mode():
        (wanted,) = model([picture])
    np.testing.assert_allclose(found["boxes"], wanted["boxes"].numpy(), atol=0.05)
    np.testing.assert_allclose(found["scores"], wanted["scores"].numpy(), atol=1e-4)
    assert found["labels"] == wanted["labels"].tolist()


def test_the_script_applies_thresholds(tmp_path: Path, exports: Exports) -> None:
    pytest.importorskip("onnxruntime")
    model, folder = exports("onnxruntime", False)
    shutil.copytree(folder, tmp_path / "out")
    content = json.loads((folder / "model.json").read_text())
    content["metadata"]["thresholds"] = {"a": 0.5, "b": 1.0, "c": 0.0}
    (tmp_path / "out" / "model.json").write_text(json.dumps(content))
    picture = images(1, 64, 80)[0].permute(1, 2, 0).numpy()
    found = runpy.run_path(str(tmp_path / "out" / "infer.py"))["answer"](picture)
    (answer,) = model([picture])
    kept = (answer["labels"] == 2) | ((answer["labels"] == 0) & (answer["scores"] >= 0.5))
    assert 0 < int(kept.sum()) < len(kept)
    assert sorted(found["labels"].tolist()) == sorted(answer["labels"][kept].tolist())


def test_the_format_torch_has_no_such_graph(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the format torch takes neither resize"):
        zoo.export(small_model("classification"), tmp_path / "out", "torch", resize=True)
    with pytest.raises(InputError, match="input_type is 'float16'; expected float32 or uint8"):
        zoo.export(small_model("classification"), tmp_path / "out", "onnx", input_type="float16")  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()
