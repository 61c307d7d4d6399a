"""Errors of training: invalid input is reported before the first step, later errors name the samples."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.listening import Listening
from tests.pictures import COLOURS, cut_short, write_class_folders
from tests.small_training import RECIPE, coloured, fresh, poisoned_loss
from zoo.errors import ImageError, InputError, UnknownNameError, ZooError
from zoo.training.checkpoints import CHECKPOINT
from zoo.training.optimization import Optimization
from zoo.training.train import train

pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_loss_that_is_no_number_names_the_samples(tmp_path: Path) -> None:
    model = fresh()
    with torch.no_grad():
        model.head.fc.weight.fill_(float("nan"))  # type: ignore[union-attr,operator]
    with pytest.raises(
        ZooError, match=r"the loss became nan at batch 1 \(s\d\d, s\d\d, s\d\d, s\d\d\); check these images, lower --lr"
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
    from zoo.task.recipe import Recipe

    return Recipe()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"data": coloured(1)}, "dataset 'coloured' has 1 samples; training needs at least 2 per process"),
        ({"recipe": other_recipe()}, "recipe is a Recipe; expected a ClassificationRecipe for the task classification"),
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


def test_a_batch_without_a_finite_loss_is_left_out_and_counted(tmp_path: Path) -> None:
    data = coloured(12)
    odd = replace(data, records=(*data.records[:-1], replace(data.records[-1], target=3)), classes=(*data.classes, "odd"))
    recipe = replace(RECIPE, epochs=2, on_nan="skip", min_samples=1)
    model = fresh(classes=[*sorted(COLOURS), "odd"])
    poisoned_loss(model)
    listening = Listening()
    run = train(model, odd, None, recipe, tmp_path / "run", progress=listening)
    assert [entry["not_finite"] for entry in run.history] == [1, 1]
    assert [len(entry["curve"]["loss"]) for entry in run.history] == [2, 2]
    assert all(value.isfinite().all() for value in run.model.state_dict().values())
    assert sum("skipped: the loss became inf at batch" in line and "s11" in line for line in listening.lines) == 2
    poisoned_loss(again := fresh(classes=[*sorted(COLOURS), "odd"]))
    with pytest.raises(ZooError, match=r"the loss became inf at batch \d \(.*s11.*\); check these images, .* --on-nan skip"):
        train(again, odd, None, replace(recipe, on_nan="stop"), tmp_path / "stop")


def test_a_batch_that_is_left_out_leaves_no_trace_in_the_statistics_of_batch_norm(tmp_path: Path) -> None:
    model = fresh()
    norm: Any = next(module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d))
    calls = []

    def overflow(module: Any, inputs: Any) -> Any:
        calls.append(module.training)
        return (inputs[0] * float("nan"),) if len(calls) == 2 else None

    norm.register_forward_pre_hook(overflow)
    run = train(model, coloured(12), None, replace(RECIPE, on_nan="skip"), tmp_path / "run")
    assert run.history[0]["not_finite"] == 1
    assert all(value.isfinite().all() for value in run.model.state_dict().values())
    assert int(norm.num_batches_tracked) == sum(calls) - 1


def test_weights_that_are_no_numbers_end_the_run_before_they_are_scored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def ruined(self: Optimization, done: int) -> None:
        head: Any = self.averaged.head
        with torch.no_grad():
            head.fc.bias[1] = float("inf")

    monkeypatch.setattr(Optimization, "step", ruined)
    data = coloured(6)
    message = r"weights have become NaN or infinite \(first in heads\.classification\.fc\.bias\); lower --lr, set --clip-grad"
    with pytest.raises(ZooError, match=message):
        train(fresh(), data, data, replace(RECIPE, batch_size=6, epochs=1), tmp_path / "run")
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


@pytest.mark.parametrize("settings", [{"on_nan": "skip"}, {"on_nan": "stop", "ema": 0.9}, {"clip_grad": 1.0}])
def test_a_checkpoint_within_an_epoch_never_has_weights_that_are_no_numbers(tmp_path: Path, settings: dict[str, Any]) -> None:
    """The second batch has a finite loss whose gradient is NaN; a checkpoint is due after every step."""
    model, losses = fresh(), list[float]()
    original = model.head.loss

    def loss(features: Any, batch: Any, targets: Any) -> dict[str, torch.Tensor]:
        found = original(features, batch, targets)
        found = {name: value + (value * 0).sqrt() if len(losses) == 1 else value for name, value in found.items()}
        losses.append(sum(value.item() for value in found.values()))
        return found

    model.head.loss = loss  # type: ignore[method-assign]
    message = r"weights have become NaN or infinite \(first in .*Checkpoints saved earlier contain only finite weights"
    with pytest.raises(ZooError, match=message):
        train(model, coloured(), None, replace(RECIPE, **settings), tmp_path / "run", checkpoint_minutes=0)
    assert len(losses) == 2
    assert all(map(math.isfinite, losses))
    state = torch.load(tmp_path / "run" / CHECKPOINT, weights_only=True)
    assert state["batches_done"] == 1
    for weights in (state["model"], state["ema"] or {}):
        assert all(value.isfinite().all() for value in weights.values())


def test_stages_can_not_be_set_free_where_nothing_is_frozen(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"unfreeze_every is 2, but nothing is frozen; .*\(--freeze trunk\), or set unfreeze_every to 0"):
        train(fresh(), coloured(), None, replace(RECIPE, unfreeze_every=2), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_patience_needs_something_to_score_on(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="early_stop is 2, but there is no validation data; pass --val, or set early_stop to 0"):
        train(fresh(), coloured(), None, replace(RECIPE, early_stop=2), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_batch_larger_than_the_data_is_refused_before_the_first_step(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="batch_size is 13, but the data has 12 samples; set it to 12 or less"):
        train(fresh(), coloured(12), None, replace(RECIPE, batch_size=13), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_classes_with_hardly_any_samples_are_refused_or_named(tmp_path: Path) -> None:
    data, listening = coloured(7), Listening()
    few = replace(data, records=tuple(record for record in data.records if record.target != 1) + data.records[1:2])
    few, model = replace(few, classes=(*few.classes, "none")), fresh(classes=[*sorted(COLOURS), "none"])
    message = rf"dataset 'coloured' has classes with fewer than 2 samples: {sorted(COLOURS)[1]} \(1\); .* \(--min-samples 1\)"
    with pytest.raises(InputError, match=message):
        train(model, few, None, RECIPE, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    train(model, few, None, replace(RECIPE, min_samples=1), tmp_path / "run", progress=listening)
    assert f"data 'coloured': {sorted(COLOURS)[1]} has only one sample: little can be learned" in listening.lines
    assert "data 'coloured': none has no samples: nothing can be learned" in listening.lines


def test_one_sample_of_every_class_is_meant(tmp_path: Path) -> None:
    listening = Listening()
    train(fresh(), coloured(3), None, replace(RECIPE, batch_size=3, epochs=1), tmp_path / "run", progress=listening)
    assert f"data 'coloured': {', '.join(sorted(COLOURS))} have only one sample: little can be learned" in listening.lines


def test_classes_that_the_validation_data_lacks_are_named(tmp_path: Path) -> None:
    data, listening = coloured(6), Listening()
    few = replace(data, records=tuple(record for record in data.records if record.target != 1))
    train(fresh(), data, few, replace(RECIPE, epochs=1), tmp_path / "run", progress=listening)
    missing = sorted(COLOURS)[1]
    assert f"data 'coloured': {missing} has no samples: not included in the validation scores" in listening.lines


def test_a_resume_with_nothing_to_continue_is_said(tmp_path: Path) -> None:
    listening, run = Listening(), tmp_path / "run"
    train(fresh(), coloured(6), None, replace(RECIPE, epochs=1), run, resume=True, progress=listening)
    message = f"{run}: there is no checkpoint to resume from; starting a new run"
    assert message in listening.lines
    listening.lines.clear()
    train(fresh(), coloured(6), None, replace(RECIPE, epochs=1), run, resume=True, progress=listening)
    assert message not in listening.lines
