"""Contract of every engine in the registry, for every task: its predictions equal the model's at any batch size."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import zoo
from tests.engines import INSTALLED, KEEPING, photos, small_joint, small_model
from tests.engines import check_same as check_same_heads
from tests.forking import Job, run_job
from tests.pictures import write_picture
from tests.unit.artefacts.encrypted import write_identity
from zoo.compilation.conversion import Conversion
from zoo.engines import ENGINES, Judge
from zoo.errors import InputError
from zoo.images.preprocess import as_float
from zoo.models.compiled import Compiled
from zoo.models.networks import PICTURES
from zoo.task.contract import get_task

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.slow]

_TASKS = ("classification", "detection", "face")
_COMPILED: dict[tuple[str, str], Compiled] = {}


def compiled(task: str, engine: str) -> Compiled:
    if (task, engine) not in _COMPILED:
        _COMPILED[task, engine] = zoo.compile(small_model(task), engine=engine, precision="fp32")
    return _COMPILED[task, engine]


def pictures(count: int) -> list[Any]:
    generator = np.random.default_rng(count)
    sizes = [(48, 64), (64, 48), (40, 40), (90, 61), (33, 70)]
    return [generator.integers(0, 256, (*sizes[place % 5], 3), dtype=np.uint8) for place in range(count)]


def answers(model: Any, batch: Any, task: str) -> list[Any]:
    with torch.inference_mode():
        return get_task(task).answers.split(model(batch))


def check_same(wanted: list[Any], got: list[Any]) -> None:
    assert len(wanted) == len(got)
    for want, have in zip(wanted, got, strict=True):
        if isinstance(want, dict):
            assert want["labels"].tolist() == have["labels"].tolist()
            np.testing.assert_allclose(have["boxes"], want["boxes"], atol=0.01)
            np.testing.assert_allclose(have["scores"], want["scores"], atol=1e-4)
        else:
            np.testing.assert_allclose(have, want, atol=1e-4)


def check_engine(task: str, engine: str) -> None:
    model, fast = small_model(task), compiled(task, engine)
    for count in (2, 1, 5, 5, 5, 5, 3):  # the same size repeatedly: an engine may make a graph for it
        check_same(answers(model, pictures(count), task), answers(fast, pictures(count), task))
    assert fast.making.agreement.relative_error < 1e-4
    assert fast.classes == model.classes
    assert fast.metadata == model.metadata


@pytest.mark.parametrize("engine", INSTALLED)
@pytest.mark.parametrize("task", ["classification", "detection"])
def test_every_engine_answers_as_the_model_does(task: str, engine: str) -> None:
    check_engine(task, engine)


@pytest.mark.parametrize("engine", KEEPING)  # inductor takes long, and faces have the networks of a classifier
def test_every_engine_embeds_faces_as_the_model_does(engine: str) -> None:
    check_engine("face", engine)


@pytest.mark.parametrize("engine", INSTALLED)
def test_a_classifier_takes_tensors_of_any_size(engine: str) -> None:
    model, fast = small_model("classification"), compiled("classification", engine)
    for height, width in ((33, 47), (48, 48), (64, 31), (97, 130), (8, 200)):
        batch = torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(height))
        check_same(answers(model, batch, "classification"), answers(fast, batch, "classification"))


@pytest.mark.parametrize("engine", INSTALLED)
def test_answers_are_the_callers_own(engine: str) -> None:
    fast = compiled("classification", engine)
    first = fast(pictures(2))
    kept = first.clone()
    fast(pictures(3)[1:])
    assert torch.equal(first, kept), "the second call has overwritten the output of the first"


@pytest.mark.parametrize("engine", INSTALLED)
def test_floats_are_taken_as_the_model_takes_them(engine: str) -> None:
    batch = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    model, fast = small_model("classification"), compiled("classification", engine)
    check_same(answers(model, batch, "classification"), answers(fast, batch, "classification"))
    whole = (batch * 255).round().to(torch.uint8)
    check_same(answers(model, whole, "classification"), answers(fast, whole, "classification"))
    with torch.inference_mode():
        (wanted,) = model.head.tensors(model.levels(as_float(whole)))
    for given in (whole, as_float(whole)):
        (found,) = fast.tensors(given)
        np.testing.assert_allclose(found, wanted, atol=1e-4 * float(wanted.abs().max()))


@pytest.mark.parametrize("engine", [*KEEPING, "eager"])
def test_what_is_saved_is_loaded_again(engine: str, tmp_path: Path) -> None:
    task = "detection"  # has several networks
    fast = compiled(task, engine)
    folder = zoo.save(fast, tmp_path / "fast")
    again = zoo.load(folder)
    assert isinstance(again, Compiled)
    assert again.making.engine == engine
    assert (folder / "labels.txt").read_text(encoding="utf-8").split() == list(fast.classes)
    check_same(answers(fast, pictures(3), task), answers(again, pictures(3), task))
    copied = zoo.load(zoo.save(again, tmp_path / "copy"))  # from its files, not from the model
    check_same(answers(fast, pictures(2), task), answers(copied, pictures(2), task))
    identity = tmp_path / "key.txt"
    encrypted = zoo.load(zoo.encrypt(folder, recipients=write_identity(identity)).path, identity=identity)
    shutil.rmtree(folder)
    check_same(answers(fast, pictures(2), task), answers(encrypted, pictures(2), task))  # from memory


@pytest.mark.parametrize("engine", KEEPING)
def test_a_detector_takes_pictures_of_any_size(engine: str) -> None:
    torch.manual_seed(0)
    model = zoo.build("test_resnet", task="detection", classes=["a"], image_size=64, max_image_size=200, fpn_channels=16, proposals=30)
    fast = zoo.compile(model, engine=engine, precision="fp32")
    generator = np.random.default_rng(0)
    for height, width in ((64, 64), (20, 200), (200, 20), (64, 97), (7, 9)):  # for the smallest image, some levels are 1×1
        several = [generator.integers(0, 256, (height, width, 3), dtype=np.uint8)] * 2
        pixels = model.preprocess.batch(several).pixels
        with torch.inference_mode():
            wanted = model.head.tensors(model.levels(pixels))
        for want, got in zip(wanted, fast.tensors(pixels), strict=True):
            np.testing.assert_allclose(got, want, atol=1e-4 * float(want.abs().max()))


@pytest.mark.parametrize("engine", KEEPING)
def test_a_detector_that_proposes_nothing_answers_nothing(engine: str) -> None:
    fast = compiled("detection", engine)
    found = fast.head.call("boxes", torch.zeros(0, 16, 7, 7))
    assert [tuple(each.shape) for each in found] == [(0, 4), (0, 16)]


@pytest.mark.parametrize("engine", KEEPING[:1])
def test_scores_are_those_of_the_model(engine: str) -> None:
    data = "demo:digits?split=test&limit=40"
    torch.manual_seed(0)
    model = zoo.build("resnet20", classes=[str(digit) for digit in range(10)])
    fast = zoo.compile(model, engine=engine, precision="fp32", data=data)
    plain, scores = zoo.evaluate(model, data, replicates=0), zoo.evaluate(fast, data, replicates=0)
    assert scores.scores == pytest.approx(plain.scores, abs=1e-4)
    assert scores.details["engine"]["engine"] == engine
    assert scores.fingerprints == plain.fingerprints
    assert fast.making.agreement.score == "top1"


def test_a_compiled_model_has_no_losses_and_no_training() -> None:
    fast = zoo.compile(small_model("classification"), engine="eager")
    with pytest.raises(InputError, match="a compiled model accepts only images"):
        fast(pictures(1), torch.tensor([0]))
    with pytest.raises(InputError, match="a compiled model can't be trained"):
        fast.train()
    with pytest.raises(InputError, match="a compiled model can't be trained"):
        zoo.train(fast, "demo:digits")
    with pytest.raises(InputError, match=r"runs on the CPU, not on meta; use device='cpu'"):
        fast.to("meta")
    assert fast.eval() is fast
    assert fast.to("cpu") is fast


@pytest.mark.parametrize("engine", KEEPING)
def test_the_network_just_converted_answers_like_the_one_in_the_cache_to_the_last_bit(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path))
    model, batch = small_model("classification"), torch.rand(5, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    fresh, kept = (zoo.compile(model, engine=engine, precision="fp32")(batch) for _ in range(2))
    assert torch.equal(fresh, kept)


_SIGNALLED = """
import os, signal, sys
import torch
from zoo.engines import ENGINES, Network

network = Network("pictures", torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3)), (torch.zeros(2, 3, 8, 8),), ((0,),))
network.module.forward = lambda pixels: (pixels.mean((2, 3)),)
engine = ENGINES[sys.argv[1]]()
made = engine.convert(network)
first, second = (engine.start(made, "fp32", 1) for _ in range(2))
for run in (first, second):
    run(torch.zeros(2, 3, 8, 8))
del run, first
del second
signal.signal(signal.SIGINT, lambda number, frame: print("interrupted", flush=True))
os.kill(os.getpid(), signal.SIGINT)
"""


@pytest.mark.parametrize("engine", KEEPING)
def test_ctrl_c_is_told_after_networks_were_started_and_forgotten(engine: str) -> None:
    done = run_job(Job([engine], _SIGNALLED))
    assert (done.status, done.stdout.strip()) == (0, "interrupted"), done.stderr


def likeness(wanted: Any, got: Any) -> float:
    """Return the smallest correlation of any output with that of eager."""
    pairs = [torch.stack([one.flatten(), other.flatten()]) for one, other in zip(wanted, got, strict=True)]
    return min(float(torch.corrcoef(pair)[0, 1].nan_to_num()) for pair in pairs if pair.shape[1] > 1)


@pytest.mark.parametrize("engine", KEEPING)
@pytest.mark.parametrize("task", _TASKS)
def test_every_number_of_eight_bits_resembles_that_of_eager(engine: str, task: str, tmp_path: Path) -> None:
    model, samples = small_model(task), pictures(6)
    for place, sample in enumerate(samples):
        write_picture(tmp_path / f"{place}.png", sample)
    fast = zoo.compile(model, engine=engine, precision="int8", data=tmp_path)
    pixels = as_float(model.preprocess.batch(samples).pixels)
    with torch.no_grad():
        assert likeness(model.head.tensors(model.levels(pixels)), fast.tensors(pixels)) > 0.9


@pytest.mark.parametrize("engine", KEEPING[:1])
def test_heads_of_eight_bits_that_share_a_pass_resemble_those_of_eager(engine: str, tmp_path: Path) -> None:
    model = small_joint("species", "parts")
    for place, sample in enumerate(pictures(3)):
        write_picture(tmp_path / "pictures" / f"{place}.png", sample)
    fast = zoo.compile(model, engine=engine, precision="int8", data={"parts": tmp_path / "pictures"})
    assert {name: each.pictures for name, each in fast.making.agreement.items()} == {"species": 3, "parts": 3}
    pixels = as_float(model.passes()[0].preprocess.batch(pictures(3)).pixels)
    again = zoo.load(zoo.save(fast, tmp_path / "saved"))
    assert isinstance(again, Compiled)
    for name in model.config.heads:
        view, (seen, read) = model.view(name), (each.view(name).tensors(pixels) for each in (fast, again))
        with torch.no_grad():
            assert likeness(view.head.tensors(view.levels(pixels)), seen) > 0.9
        assert all(map(torch.equal, read, seen))


@pytest.mark.parametrize("engine", KEEPING)
def test_what_a_judge_of_a_detector_sees_resembles_eager(engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path))
    model, seen = small_model("detection"), list[float]()
    pixels = as_float(model.preprocess.batch(pictures(2)).pixels)
    with torch.no_grad():
        wanted = model.head.tensors(model.levels(pixels))

    def score(runner: Any, numbers: Any) -> float:
        seen.append(likeness(wanted, runner(pixels)))
        return seen[-1]

    conversion = Conversion(model, "", ENGINES[engine](), "int8", 1, {PICTURES: [(pixels,)] * 4}, lambda name: Judge(2, 0.5, score))
    conversion.started(PICTURES, None)
    assert len(seen) > 1
    assert min(seen) > 0.9


# inductor compiles each head's networks in the tests above, and takes minutes for all of them
@pytest.mark.parametrize("engine", [*KEEPING, "eager"])
def test_every_engine_computes_models_with_several_heads(engine: str, tmp_path: Path) -> None:
    for number in range(2):
        write_picture(tmp_path / "pictures" / f"{number}.png", np.random.default_rng(number).integers(0, 256, (64, 80, 3), dtype=np.uint8))
    model = small_joint("species", "parts")
    fast = zoo.compile(model, engine, "fp32", data=tmp_path / "pictures")
    assert all(agreement.relative_error < 1e-4 for agreement in fast.making.agreement.values())
    check_same_heads(model(photos()), fast(photos()))
    check_same_heads(model(photos()), zoo.load(zoo.save(fast, tmp_path / "saved"))(photos()))
