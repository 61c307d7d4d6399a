"""The training loop: what it learns, what it writes, and that an interrupted run goes on as if nothing had happened."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.listening import Listening
from tests.pictures import COLOURS, cut_short, picture, write_class_folders
from zoo.checkpoint import CHECKPOINT
from zoo.data import Dataset, Record, Sample
from zoo.errors import ImageError, InputError, UnknownNameError, ZooError
from zoo.interruption import Interrupted
from zoo.model import Model, build, load, save
from zoo.progress import Progress
from zoo.recipe import read_toml
from zoo.report.learning import best_epoch
from zoo.scores import Scores
from zoo.tasks.classification.recipe import ClassificationRecipe
from zoo.training import settle, train

pytestmark = pytest.mark.usefixtures("one_thread")

RECIPE = ClassificationRecipe(epochs=2, batch_size=4, lr=1e-3, precision="fp32", workers=0, crop_scale=0.6)


def coloured(count: int = 12) -> Dataset:
    names = sorted(COLOURS)
    records = [Record(f"s{index:02d}", picture(COLOURS[names[index % 3]], index, (16, 16)), index % 3) for index in range(count)]
    return Dataset("coloured", tuple(records), tuple(names))


def fresh(seed: int = 5, **options: Any) -> Model:
    torch.manual_seed(seed)
    return build("test_resnet", **{"classes": sorted(COLOURS), "image_size": 32, **options})


def same(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def test_a_run_learns_and_leaves_its_folder(tmp_path: Path) -> None:
    before = fresh()
    run = train(fresh(), coloured(), coloured(), replace(RECIPE, epochs=5, lr=3e-3), tmp_path / "run")
    assert run.scores is not None
    assert run.scores["top1"] == 1
    assert not run.model.training
    assert not same(run.model.state_dict(), before.state_dict())
    assert {path.name for path in run.folder.iterdir()} == {
        "recipe.toml",
        "run.json",
        "metrics.jsonl",
        "checkpoints",
        "model",
        "report.html",
        ".lock",
    }
    lines = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    assert lines == run.history
    assert [line["epoch"] for line in lines] == list(range(1, 6))
    assert lines[-1]["step"] == 15
    assert lines[-1]["loss"] < lines[0]["loss"]
    assert lines[-1]["lr"] < 1e-4 < lines[2]["lr"]
    assert lines[-1]["val"]["top1"] == 1
    assert read_toml(run.folder / "recipe.toml", ClassificationRecipe) == replace(RECIPE, epochs=5, lr=3e-3)
    saved = load(run.folder)
    assert same(saved.state_dict(), run.model.state_dict())
    assert saved.metadata["training"]["samples"] == 12
    assert saved.metadata["training"]["recipe"]["lr"] == 3e-3


def test_the_model_of_the_best_epoch_is_kept_with_its_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, Tensor]] = []

    def scored(model: Model, data: object, **options: object) -> Scores:
        seen.append({key: value.clone() for key, value in model.state_dict().items()})
        return Scores({"top1": [0.5, 0.9, None, 0.2][len(seen) - 1]}, 12, 12)

    monkeypatch.setattr("zoo.run_data.evaluate", scored)
    run = train(fresh(), coloured(), coloured(), replace(RECIPE, epochs=4), tmp_path / "run")
    assert [entry["val"]["top1"] for entry in run.history] == [0.5, 0.9, None, 0.2]
    assert run.scores is not None
    assert run.scores["top1"] == 0.9
    assert same(run.model.state_dict(), seen[1])
    assert not same(seen[1], seen[3])


def test_of_epochs_as_good_as_each_other_the_last_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, Tensor]] = []

    def scored(model: Model, data: object, **options: object) -> Scores:
        seen.append({key: value.clone() for key, value in model.state_dict().items()})
        return Scores({"top1": [0.9, 0.5, 0.9][len(seen) - 1]}, 12, 12)

    monkeypatch.setattr("zoo.run_data.evaluate", scored)
    run = train(fresh(), coloured(), coloured(), replace(RECIPE, epochs=3), tmp_path / "run")
    assert same(run.model.state_dict(), seen[2])
    assert not same(seen[0], seen[2])
    best = best_epoch(run.history, "top1")
    assert best is not None
    assert best["epoch"] == 3


# -- going on ----------------------------------------------------------------------------------------------------------

THOROUGH = replace(RECIPE, epochs=3, grad_accumulation=2, ema=0.9, clip_grad=1.0)


class StopAt(Progress):
    """Stands in for a user who types Ctrl-C during the n-th batch, or for a system that sends SIGTERM."""

    def __init__(self, batch: int, number: int = signal.SIGINT) -> None:
        super().__init__(enabled=False)
        self.left, self.number = batch, number

    def advance(self, note: str = "", steps: float = 1) -> None:
        if note:  # the training's own bar, not the validation's
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), self.number)


@pytest.fixture(scope="module")
def whole(one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was never interrupted: four batches an epoch, two a step; dropout draws random numbers."""
    return train(fresh(dropout=0.5), coloured(14), coloured(6), THOROUGH, tmp_path_factory.mktemp("whole") / "run").folder


@pytest.mark.parametrize(("batch", "after", "workers"), [(1, 2, 0), (4, 4, 2), (6, 6, 0), (9, 10, 0), (12, 12, 0)])
def test_an_interrupted_run_ends_bit_for_bit_like_one_that_was_not(
    tmp_path: Path, whole: Path, batch: int, after: int, workers: int
) -> None:
    """A step is always finished first: two batches here."""
    recipe, out = replace(THOROUGH, workers=workers), tmp_path / "run"
    with pytest.raises(Interrupted, match=f"interrupted after {after} batches; continue with the same command and --resume"):
        train(fresh(dropout=0.5), coloured(14), coloured(6), recipe, out, progress=StopAt(batch))
    assert not (out / "model").exists()
    run = train(fresh(99, dropout=0.5), coloured(14), coloured(6), recipe, out, resume=True)
    assert same(load(out).state_dict(), load(whole).state_dict())
    assert (out / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()
    assert run.scores is not None  # also where the best epoch was before the interruption
    assert run.history[-1]["step"] == 6


def test_sigterm_stops_like_ctrl_c(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Interrupted, match="stopped by SIGTERM after 1 batches; continue with the same command and --resume") as caught:
        train(fresh(), coloured(), None, RECIPE, tmp_path / "run", progress=StopAt(1, signal.SIGTERM))
    assert caught.value.exit_status == 143
    assert signal.getsignal(signal.SIGTERM) == before
    assert (tmp_path / "run" / CHECKPOINT).is_file()


def test_a_finished_run_that_is_resumed_stays_as_it_is(tmp_path: Path) -> None:
    first = train(fresh(), coloured(), None, RECIPE, tmp_path / "run")
    again = train(fresh(), coloured(), None, RECIPE, tmp_path / "run", resume=True)
    assert same(first.model.state_dict(), again.model.state_dict())
    assert again.history == first.history


PROGRAM = """
import sys, torch
torch.set_num_threads(1)
from zoo.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_ctrl_c_in_a_real_process_leaves_a_run_that_goes_on(tmp_path: Path) -> None:
    write_class_folders(tmp_path / "data", per_class=8)
    out = tmp_path / "run"
    words = f"train --data folder:{tmp_path / 'data'} --out {out} --backbone test_resnet --image-size 32 --workers 1 --batch-size 4"
    command = [sys.executable, "-c", PROGRAM, *words.split(), "--epochs", "400"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        deadline = time.monotonic() + 120
        while not (out / CHECKPOINT).exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)  # a terminal sends it to the loader's processes too
        _, said = process.communicate(timeout=120)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert "continue with the same command and --resume" in said.splitlines()[-1]
    state = torch.load(out / CHECKPOINT, weights_only=True)
    assert state["batches_done"] > 0
    torch.save({**state, "batches_done": 400 * 6}, out / CHECKPOINT)  # as if it had nearly ended: going on takes no time
    resumed = subprocess.run([*command, "--resume"], capture_output=True, text=True, timeout=90, check=False)
    assert resumed.returncode == 0, resumed.stderr
    assert "resumed after 2400 of 2400 batches" in resumed.stderr
    assert load(out).task == "classification"


# -- what goes wrong ---------------------------------------------------------------------------------------------------


def test_a_loss_that_is_no_number_names_the_samples(tmp_path: Path) -> None:
    model = fresh()
    with torch.no_grad():
        model.head.fc.weight.fill_(float("nan"))  # type: ignore[union-attr,operator]
    with pytest.raises(
        ZooError, match=r"the loss became nan at batch 1 \(s\d\d, s\d\d, s\d\d, s\d\d\); look at these pictures, lower --lr"
    ) as caught:
        train(model, coloured(), None, RECIPE, tmp_path / "run")
    assert caught.value.exit_status == 1


def test_unreadable_pictures_stop_or_are_left_out(tmp_path: Path) -> None:
    write_class_folders(tmp_path / "data", per_class=4, suffix=".jpg")
    bad = cut_short(tmp_path / "data" / "green" / "2.jpg")
    data = f"folder:{tmp_path / 'data'}"
    with pytest.raises(ImageError, match=str(bad)):
        train(fresh(), data, None, RECIPE, tmp_path / "one")
    run = train(fresh(), data, None, RECIPE, tmp_path / "two", on_error="skip")
    assert [fault.key for fault in run.skipped] == ["green/2.jpg"]
    assert run.history[-1]["skipped"] == 1


def other_recipe() -> Any:
    from zoo.recipe import Recipe

    return Recipe()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"data": coloured(1)}, "data 'coloured' has 1 samples; training needs at least 2 per process"),
        ({"recipe": other_recipe()}, "recipe is a Recipe; the task classification takes a ClassificationRecipe"),
        ({"device": "tpu"}, "device 'tpu' is not available here"),
        ({"val": replace(coloured(), classes=("a", "b", "c"))}, "3 of its 3 classes are unknown to the model"),
        ({"data": "folder:gone"}, "the folder gone does not exist"),
    ],
)
def test_what_can_not_be_trained(tmp_path: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        train(fresh(), **{"data": coloured(), "recipe": RECIPE, "out": tmp_path / "run", **arguments})
    assert not (tmp_path / "run").exists()


def test_an_unknown_optimizer_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"unknown optimizer 'adamv'\. Nearest: .*adamw"):
        train(fresh(), coloured(), None, replace(RECIPE, optimizer="adamv"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


# -- losses that are no numbers, patience, little data ------------------------------------------------------------------


def poisoned_loss(model: Model) -> None:
    """Let every batch that holds a sample of the class 3 have a loss that is no number."""
    original = model.head.loss

    def loss(features: Any, batch: Any, targets: Any) -> dict[str, Tensor]:
        losses = original(features, batch, targets)
        return {name: value * float("inf") if (targets == 3).any() else value for name, value in losses.items()}

    model.head.loss = loss  # type: ignore[method-assign]


def test_a_batch_without_a_finite_loss_is_left_out_and_counted(tmp_path: Path) -> None:
    data = coloured(12)
    odd = replace(data, records=(*data.records[:-1], replace(data.records[-1], target=3)), classes=(*data.classes, "odd"))
    recipe = replace(RECIPE, epochs=2, on_nan="skip")
    model = fresh(classes=[*sorted(COLOURS), "odd"])
    poisoned_loss(model)
    said = Listening()
    run = train(model, odd, None, recipe, tmp_path / "run", progress=said)
    assert [entry["not_finite"] for entry in run.history] == [1, 1]
    assert [len(entry["curve"]["loss"]) for entry in run.history] == [2, 2]
    assert all(value.isfinite().all() for value in run.model.state_dict().values())
    assert sum("left out: the loss became inf at batch" in line and "s11" in line for line in said.lines) == 2
    poisoned_loss(again := fresh(classes=[*sorted(COLOURS), "odd"]))
    with pytest.raises(ZooError, match=r"the loss became inf at batch \d \(.*s11.*\); look at these pictures, .* --on-nan skip"):
        train(again, odd, None, replace(recipe, on_nan="stop"), tmp_path / "stop")


def test_training_ends_when_the_score_has_not_risen_for_long_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = iter([0.5, 0.9, 0.8, 0.9, 0.95])
    monkeypatch.setattr("zoo.run_data.evaluate", lambda *given, **options: Scores({"top1": next(scores)}, 12, 12))
    said = Listening()
    recipe = replace(RECIPE, epochs=9, early_stop=2)
    run = train(fresh(), coloured(), coloured(), recipe, tmp_path / "run", progress=said)
    assert [entry["val"]["top1"] for entry in run.history] == [0.5, 0.9, 0.8, 0.9]
    assert run.scores is not None
    assert run.scores["top1"] == 0.9
    assert "no better top1 for 2 epochs: stopped early, after epoch 4" in said.lines
    monkeypatch.undo()
    assert train(fresh(), coloured(), coloured(), recipe, tmp_path / "run", resume=True).history == run.history


def test_patience_needs_something_to_score_on(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="early_stop is 2, but there is nothing to score on; give --val, or set early_stop to 0"):
        train(fresh(), coloured(), None, replace(RECIPE, early_stop=2), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_batch_larger_than_the_data_is_refused_before_the_first_step(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="batch_size is 13, but the data has 12 samples; give 12 or less"):
        train(fresh(), coloured(12), None, replace(RECIPE, batch_size=13), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_presets_batch_size_gives_way_to_little_data(tmp_path: Path) -> None:
    said = Listening()
    run = train(fresh(), coloured(12), None, replace(RECIPE, batch_size=32), tmp_path / "run", progress=said)
    assert read_toml(run.folder / "recipe.toml", ClassificationRecipe).batch_size == 12
    assert "batch_size is 12, not 32: the data has 12 samples" in said.lines


def test_classes_with_hardly_any_samples_are_named(tmp_path: Path) -> None:
    data, said = coloured(7), Listening()
    few = replace(data, records=tuple(record for record in data.records if record.target != 1) + data.records[1:2])
    train(
        fresh(classes=[*sorted(COLOURS), "none"]),
        replace(few, classes=(*few.classes, "none")),
        None,
        RECIPE,
        tmp_path / "run",
        progress=said,
    )
    assert f"data 'coloured': {sorted(COLOURS)[1]} has one sample: little can be learned from it" in said.lines
    assert "data 'coloured': none has no sample: it can't be learned" in said.lines


def test_balanced_classes_are_drawn_by_the_recipe(tmp_path: Path) -> None:
    data = coloured(12)
    rare = replace(data, records=(*data.records[::3], data.records[1]))
    seen: list[int] = []
    loop = replace(RECIPE, balance="classes", epochs=40)
    model = fresh()
    original = model.head.loss

    def loss(features: Any, batch: Any, targets: Tensor) -> dict[str, Tensor]:
        seen.extend(targets.tolist())
        return original(features, batch, targets)

    model.head.loss = loss  # type: ignore[method-assign]
    train(model, rare, None, loop, tmp_path / "run")
    assert len(seen) == 200
    assert 70 < seen.count(1) < 130  # half of the draws, within four standard deviations


def test_two_batches_to_a_step_are_one_of_twice_the_size(tmp_path: Path) -> None:
    """With batch-norm that doesn't look at the batch, and an optimiser that scales with the gradient."""
    plain = replace(RECIPE, optimizer="momentum", lr=0.01, weight_decay=0.0, freeze="norm", crop_scale=1.0, flip=0.0)
    one = train(fresh(), coloured(16), None, replace(plain, batch_size=8), tmp_path / "one")
    two = train(fresh(), coloured(16), None, replace(plain, batch_size=4, grad_accumulation=2), tmp_path / "two")
    assert [entry["step"] for entry in one.history] == [entry["step"] for entry in two.history] == [2, 4]
    assert two.history[-1]["loss"] == pytest.approx(one.history[-1]["loss"], abs=1e-5)
    for name, value in two.model.state_dict().items():
        torch.testing.assert_close(value, one.model.state_dict()[name], atol=1e-5, rtol=1e-4)


# -- settings ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("samples", "recipe", "epochs"),
    [
        (1000, ClassificationRecipe(steps=500, batch_size=20), 10),
        (1000, ClassificationRecipe(steps=500, batch_size=20, grad_accumulation=2), 20),
        (10**6, ClassificationRecipe(steps=500), 2),
        (8, ClassificationRecipe(steps=500), 60),
        (8, ClassificationRecipe(steps=500, max_epochs=9), 9),
        (8, ClassificationRecipe(epochs=7), 7),
    ],
)
def test_epochs_follow_the_steps(samples: int, recipe: ClassificationRecipe, epochs: int) -> None:
    assert settle(recipe, samples, 1, {"standard": ClassificationRecipe()}, Progress(enabled=False)).epochs == epochs


def test_a_frozen_trunk_stays_as_it_was(tmp_path: Path) -> None:
    before = fresh().backbone.state_dict()
    run = train(fresh(freeze="trunk"), coloured(), coloured(), RECIPE, tmp_path / "run")
    assert same(run.model.backbone.state_dict(), before)
    assert not same(run.model.head.state_dict(), fresh().head.state_dict())


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_low_precision_trains_and_saves_float32(tmp_path: Path, precision: Any) -> None:
    run = train(fresh(), coloured(), None, replace(RECIPE, precision=precision), tmp_path / "run")
    assert all(value.dtype != torch.float16 for value in run.model.state_dict().values())
    assert run.history[-1]["loss"] < 3


def test_samples_need_no_dataset(tmp_path: Path) -> None:
    data = [Sample(picture(COLOURS["red"], index, (32, 32)), index % 3, f"{index}") for index in range(6)]
    run = train(fresh(), data, None, replace(RECIPE, epochs=1), tmp_path / "run")
    assert run.history[0]["epoch"] == 1


def test_a_trained_model_goes_on_in_another_run(tmp_path: Path) -> None:
    first = train(fresh(), coloured(), None, replace(RECIPE, epochs=1), tmp_path / "one")
    again = train(load(save(first.model, tmp_path / "m")), coloured(), None, replace(RECIPE, epochs=1), tmp_path / "two")
    assert not same(first.model.state_dict(), load(again.folder).state_dict()) or first.model is again.model
