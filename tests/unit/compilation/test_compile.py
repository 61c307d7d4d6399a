"""`zoo.compile`: what it refuses, compares and caches, with a fake engine that can be made wrong."""

from __future__ import annotations

import copy
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor

import zoo
from tests.engines import Fake, fake, small_model
from tests.pictures import write_picture
from zoo.compilation.agreement import DisagreementError, check
from zoo.compilation.conversion import network_key
from zoo.compilation.images import HeadImages
from zoo.engines import ENGINES, Network
from zoo.errors import DataError, ImageError, InputError, UnknownNameError
from zoo.models.compiled import Agreement, Making
from zoo.models.fingerprint import fingerprints
from zoo.models.model import Model
from zoo.system.progress import Progress
from zoo.task.contract import get_task

pytestmark = pytest.mark.usefixtures("one_thread")
_DIGITS = "demo:digits?split=test&limit=30"
__all__ = ["fake"]


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"engine": "eager", "precision": "fp8"}, "precision is 'fp8'; expected auto, fp32, bf16, fp16 or int8"),
        ({"engine": "fake", "precision": "int8"}, "int8 requires images for calibration: pass data="),
        ({"engine": "eager", "precision": "int8", "data": _DIGITS}, "the engine eager doesn't support int8; it supports fp32, bf16"),
    ],
)
def test_what_cannot_be_compiled(settings: dict[str, Any], message: str, fake: type[Fake]) -> None:
    with pytest.raises(InputError, match=message):
        zoo.compile(small_model("classification"), **settings)


def test_an_unknown_engine_is_told_with_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown engine 'openvin'\. Nearest: openvino"):
        zoo.compile(small_model("classification"), engine="openvin")


def test_an_engine_that_is_not_installed_is_told_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ENGINES["openvino"], "package", "no_such_package")
    with pytest.raises(
        InputError, match=r"needs the package no_such_package, which is not installed: pip install 'resnet-zoo\[openvino\]'"
    ):
        zoo.compile(small_model("classification"), engine="openvino")


def test_inductor_needs_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(InputError, match=r"the engine inductor needs a C\+\+ compiler"):
        zoo.compile(small_model("classification"), engine="inductor")


def test_a_compiled_model_is_not_compiled_again() -> None:
    fast = zoo.compile(small_model("classification"), engine="eager", precision="fp32")
    with pytest.raises(InputError, match=r"compiled already \(engine eager, fp32\)"):
        zoo.compile(fast)


def test_the_model_stays_as_it_is(fake: type[Fake]) -> None:
    model = small_model("classification")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    fast = zoo.compile(model, engine="fake")
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.requires_grad for parameter in model.parameters())
    with torch.no_grad():
        model.head.fc.weight.add_(1)  # type: ignore[union-attr, operator]
    batch = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
    try:
        assert not torch.allclose(fast(batch), model(batch)), "the compiled model changed with the model that it was compiled from"
    finally:
        model.load_state_dict(before)


@pytest.mark.parametrize(
    ("task", "fault"),
    [
        ("classification", "outputs are off by"),
        ("detection", "of the predictions are equal"),  # its first network was already found wrong and runs in eager, its second doesn't
        ("face", "outputs are off by"),
    ],
)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_numbers_that_are_off_are_refused(task: str, fault: str, precision: Any, fake: type[Fake]) -> None:
    fake.offset, model = 1e3, copy.deepcopy(small_model(task))
    for module in model.modules():
        if isinstance(module, FastRCNNPredictor):
            module.cls_score.weight.data *= 8  # scores up to 0.99, because only confident boxes are compared
    with pytest.raises(DisagreementError, match=rf"compiled with engine fake, {precision}, disagrees with eager .* {fault}"):
        zoo.compile(model, engine="fake", precision=precision)


def test_an_answer_that_is_no_number_is_refused(fake: type[Fake]) -> None:
    fake.offset = float("nan")
    with pytest.raises(DisagreementError, match="outputs are off by nan of the largest"):
        zoo.compile(small_model("face"), engine="fake", precision="fp32")


def test_other_classes_are_refused(fake: type[Fake]) -> None:
    fake.reverses = True
    with pytest.raises(DisagreementError, match=r"% of the predictions are equal \(at least 99\.5 %\)"):
        zoo.compile(small_model("classification"), engine="fake", precision="bf16")


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_a_score_that_is_lost_is_refused(precision: Any, fake: type[Fake], tmp_path: Path) -> None:
    fake.reverses = True
    data = _right_answers(tmp_path)
    with pytest.raises(DisagreementError, match=r"top1 is 0\.\d+ instead of 1\.0000 \(at most 0\.00\d apart\)"):
        zoo.compile(small_model("classification"), engine="fake", precision=precision, data=data)
    fake.reverses = False
    agreement = zoo.compile(small_model("classification"), engine="fake", precision=precision, data=data).making.agreement
    assert (agreement.score, agreement.eager, agreement.compiled, agreement.pictures) == ("top1", 1.0, 1.0, 12)
    assert str(agreement).endswith("top1 1.0000 (eager 1.0000)")


def test_the_model_itself_is_scored_once_and_calibrated_on_once(fake: type[Fake], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scored, score, drawn, track = list[bool](), HeadImages.score, list[str](), Progress.track

    def counted(source: HeadImages, model: Model) -> float:
        scored.append(model.compiled)
        return score(source, model)

    def noted(progress: Progress, each: Any, label: str, total: int) -> Any:
        drawn.append(label)
        return track(progress, each, label, total)

    monkeypatch.setattr(HeadImages, "score", counted)
    monkeypatch.setattr(Progress, "track", noted)
    fake.reverses = True
    with pytest.raises(DisagreementError, match="top1 is"):
        zoo.compile(small_model("classification"), engine="fake", precision="int8", data=_right_answers(tmp_path))
    assert scored == [False, True, True], "in int8 two graphs are made: with all layers quantised, and with those that don't cost score"
    assert drawn.count("calibrating") == 1


def _right_answers(folder: Path) -> str:
    """Write class folders on which the small model is always right; return their dataset string."""
    model, generator = small_model("classification"), np.random.default_rng(0)
    for number in range(12):
        image = generator.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        label = model.classes[int(model([image]).argmax())]
        (folder / "data" / label).mkdir(parents=True, exist_ok=True)
        write_picture(folder / "data" / label / f"{number}.png", image)
    return f"folder:{folder / 'data'}"


@pytest.mark.parametrize(
    ("precision", "compiled", "fault"),
    [
        ("bf16", 0.800, None),
        ("bf16", 0.796, "top1 is 0.7960 instead of 0.8000 (at most 0.003 apart)"),
        ("bf16", 0.804, "top1 is 0.8040 instead of 0.8000"),  # other predictions, even if they score better
        ("int8", 0.796, None),
        ("int8", 0.794, "top1 is 0.7940 instead of 0.8000 (at most 0.005 apart)"),
        ("int8", 0.820, None),
    ],
)
def test_how_far_a_score_may_be_off(precision: str, compiled: float, fault: str | None) -> None:
    making = Making("fake", precision, 1, Agreement(100, 0.0, 1.0, "top1", 0.8, compiled))
    if fault is None:
        check(making.agreement, making, get_task("classification"))
        return
    with pytest.raises(DisagreementError, match=re.escape(fault)):
        check(making.agreement, making, get_task("classification"))


def test_the_largest_error_of_any_batch_counts(fake: type[Fake], monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def start(self: Fake, converted: Any, precision: Any, threads: int) -> Any:
        def run(pixels: torch.Tensor) -> Any:
            calls.append(len(pixels))
            (found,) = converted(pixels)
            return (found + (1e3 if len(calls) == 1 else 0),)

        return run

    monkeypatch.setattr(fake, "start", start)
    batches = HeadImages.batches
    monkeypatch.setattr(HeadImages, "batches", lambda self, count, size: batches(self, 8, 4))
    with pytest.raises(DisagreementError, match="on 8 images: outputs are off by"):
        zoo.compile(small_model("classification"), engine="fake", precision="fp32")
    assert calls == [4, 4], "with a single batch this test proves nothing"


def test_an_answer_is_not_written_into_by_the_next(fake: type[Fake], monkeypatch: pytest.MonkeyPatch) -> None:
    buffer = torch.zeros(64, 3)

    def start(self: Fake, converted: Any, precision: Any, threads: int) -> Any:
        def run(pixels: torch.Tensor) -> Any:
            (found,) = converted(pixels)
            buffer[: len(found)] = found
            return (buffer[: len(found)],)

        return run

    monkeypatch.setattr(fake, "start", start)
    fast = zoo.compile(small_model("classification"), engine="fake")
    black, white = torch.zeros(1, 3, 32, 32, dtype=torch.uint8), torch.full((1, 3, 32, 32), 255, dtype=torch.uint8)
    first = fast(black)
    kept = first.clone()
    assert not torch.equal(fast(white), kept)
    assert torch.equal(first, kept)


def test_what_a_converted_network_is_known_by(fake: type[Fake]) -> None:
    network = Network("pictures", torch.nn.Identity(), (torch.zeros(2, 3, 32, 32),), ((0,),))
    sample, other = (torch.zeros(1, 3, 32, 32),), (torch.ones(1, 3, 32, 32),)
    free = replace(network, free=((0, 2, 3),))
    larger = replace(network, example=(torch.zeros(2, 3, 64, 64),))
    keys = [
        network_key("model", network, fake(), None, False),
        network_key("model", network, fake(), [], False),
        network_key("another", network, fake(), [], False),
        network_key("model", network, ENGINES["onnxruntime"](), [], False),
        network_key("model", network, fake(), [sample], False),
        network_key("model", network, fake(), [other], False),
        network_key("model", network, fake(), [sample], True),
        network_key("model", free, fake(), [], False),
        network_key("model", larger, fake(), [], False),
        network_key("model", replace(network, name="boxes"), fake(), [], False),
    ]
    assert len(set(keys)) == len(keys)
    assert network_key("model", network, fake(), [sample], True) == keys[6]


def test_plain_pictures_need_no_truth(fake: type[Fake], tmp_path: Path) -> None:
    for number in range(3):
        write_picture(tmp_path / f"{number}.png", np.full((40, 50, 3), 80 * number, np.uint8))
    said: list[str] = []
    agreement = zoo.compile(small_model("face"), engine="fake", precision="int8", data=tmp_path, say=said.append).making.agreement
    assert (agreement.pictures, agreement.score) == (3, None)
    assert said[0] == "int8 is calibrated on 3 images; 100 or more are better; without ground truth the scores can't be compared"


def test_enough_pictures_with_truth_need_no_remark(fake: type[Fake]) -> None:
    said: list[str] = []
    model = zoo.build("resnet20", classes=[str(digit) for digit in range(10)])
    zoo.compile(model, engine="fake", precision="int8", data="demo:digits?split=test&limit=100", say=said.append)
    assert [line for line in said if "calibrated" in line] == []


def test_pictures_that_cannot_be_read_are_left_out_where_that_is_wanted(fake: type[Fake], tmp_path: Path) -> None:
    for number in range(3):
        write_picture(tmp_path / f"{number}.png", np.full((40, 50, 3), 80 * number, np.uint8))
    (tmp_path / "1.png").write_bytes(b"no picture")
    model, said = small_model("face"), list[str]()
    with pytest.raises(ImageError, match=r"1\.png"):
        zoo.compile(model, engine="fake", data=tmp_path)
    agreement = zoo.compile(model, engine="fake", precision="int8", data=tmp_path, on_error="skip", say=said.append).making.agreement
    assert agreement.pictures == 2
    assert len([text for text in said if text.startswith("skipped: ") and "1.png" in text]) == 1, (
        "it is read twice, but must be reported once"
    )
    (tmp_path / "0.png").write_bytes(b"nor this")
    (tmp_path / "2.png").write_bytes(b"nor that")
    with pytest.raises(DataError, match="none of the 3 images for the comparison can be read"):
        zoo.compile(model, engine="fake", data=tmp_path, on_error="skip")


def test_annotations_that_cannot_be_right_are_left_out_where_that_is_wanted(fake: type[Fake], tmp_path: Path) -> None:
    write_picture(tmp_path / "a.png", np.full((64, 64, 3), 90, np.uint8))
    table = "path,xmin,ymin,xmax,ymax,label\na.png,5,5,40,40,cat\na.png,9,9,9,30,dog\na.png,9,9,19,30,eel\n"
    (tmp_path / "boxes.csv").write_text(table)
    data = f"csv:{tmp_path / 'boxes.csv'}"
    with pytest.raises(DataError, match="1 error in the annotations"):
        zoo.compile(small_model("detection"), engine="fake", data=data)
    assert zoo.compile(small_model("detection"), engine="fake", data=data, on_error="skip").making.agreement.pictures == 1


def test_a_gallery_takes_it_for_the_model(fake: type[Fake], tmp_path: Path) -> None:
    model = small_model("face")
    fast = zoo.compile(model, engine="eager")
    for each in (fast, zoo.load(zoo.save(fast, tmp_path / "out"))):
        assert fingerprints(each) == fingerprints(model)


def test_a_precision_other_than_its_own_is_not_asked_of_it(fake: type[Fake], tmp_path: Path) -> None:
    fast = zoo.compile(small_model("classification"), engine="fake", precision="fp32")
    with pytest.raises(InputError, match="precision is 'bf16', but the model is compiled for fp32"):
        zoo.evaluate(fast, _right_answers(tmp_path), precision="bf16")
    with pytest.raises(InputError, match="precision is 'bf16', but the model is compiled for fp32"):
        zoo.predict(fast, np.zeros((32, 32, 3), np.uint8), precision="bf16")
