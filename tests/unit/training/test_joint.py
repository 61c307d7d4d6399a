"""Training of models with several heads."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import zoo
from tests.listening import Listening
from tests.small_training import boxed, coloured, detector_and_classifier, joint_recipe, labelled, same, two_classifiers
from zoo.data.loader import Reading
from zoo.errors import Fault, InputError
from zoo.models.archive import load
from zoo.models.model import Model
from zoo.system.hardware import pick_device
from zoo.system.processes import Processes
from zoo.training.checkpoints import CHECKPOINT
from zoo.training.history import best_epoch, epochs_without_better
from zoo.training.inputs import Inputs
from zoo.training.train import train

pytestmark = pytest.mark.usefixtures("one_thread")

DATA = {"one": coloured(12), "two": coloured(20)}
VAL = {"one": coloured(6), "two": coloured(6)}


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


# -- what a run does ------------------------------------------------------------------------------------------------------


def test_two_heads_on_data_of_their_own(tmp_path: Path) -> None:
    model = two_classifiers()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    run = train(model, DATA, VAL, joint_recipe(model, lr=3e-3, epochs=4), tmp_path / "run")
    assert {name: own["top1"] for name, own in run.scores.items()} == {"one": 1, "two": 1}
    assert lines(run.folder) == run.history
    last = run.history[-1]
    assert last["step"] == 4 * (3 + 5)
    assert {*last["losses"]} == {"one/loss_classifier", "two/loss_classifier"}
    assert last["loss"] == sum(last["losses"].values()) < run.history[0]["loss"]
    assert {name for name in last["val"] if name.endswith("/top1")} == {"one/top1", "two/top1"}
    assert len(last["curve"]["loss"]) == 8
    saved = load(run.folder)
    assert same(saved.state_dict(), run.model.state_dict())
    assert all(not torch.equal(value, before[name]) for name, value in saved.state_dict().items() if name.startswith("heads."))
    assert saved.metadata["training"]["samples"] == {"one": 12, "two": 20}
    assert zoo.recipe(model.task, str(run.folder / "recipe.toml")) == joint_recipe(model, lr=3e-3, epochs=4)
    described = json.loads((run.folder / "run.json").read_text())
    assert described["data"] == {"one": "coloured", "two": "coloured"}


def counted(model: Model, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """Return a list that receives the heads of every pass through the backbone in training mode."""
    passes: list[tuple[str, ...]] = []
    whole = Model.levels

    def levels(self: Model, pixels: Any, way: Any = None) -> Any:
        if self.training:
            passes.append(way.heads)
        return whole(self, pixels, way)

    monkeypatch.setattr(Model, "levels", levels)
    return passes


def test_the_backbone_runs_once_per_batch_for_all_heads_that_it_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, data = detector_and_classifier(), boxed()
    passes = counted(model, monkeypatch)
    recipe = joint_recipe(model, epochs=1, batch_size={"parts": 2, "kinds": 3})
    run = train(model, {("parts", "kinds"): {"parts": data, "kinds": labelled(data)}}, None, recipe, tmp_path / "run")
    assert passes == [("parts", "kinds")] * 3, "batches of the detector's recipe, which has coordinates"
    assert {name.split("/")[0] for name in run.history[0]["losses"]} == {"parts", "kinds"}
    model, passes[:] = detector_and_classifier(), []
    train(model, {"kinds": labelled(data), "parts": data}, None, recipe, tmp_path / "two")
    assert sorted(passes) == [("kinds",)] * 2 + [("parts",)] * 3


def test_the_order_of_the_data_does_not_matter(tmp_path: Path) -> None:
    model, other = two_classifiers(), two_classifiers()
    one = train(model, DATA, None, joint_recipe(model), tmp_path / "a")
    two = train(other, dict(reversed(DATA.items())), None, joint_recipe(other), tmp_path / "b")
    assert same(one.model.state_dict(), two.model.state_dict())


def test_the_augmentation_of_the_head_with_coordinates_moves_its_boxes_alone() -> None:
    listening, model, data = Listening(), detector_and_classifier(), boxed()
    recipe = joint_recipe(model, flip={"parts": 1.0}, light=0.0, copy_paste=0.5, label_smoothing=0.3, mixup=0.2)
    inputs, _ = Inputs(model, Processes(pick_device("cpu")), Reading(progress=listening)).opened(
        {"kinds,parts": {"parts": data, "kinds": labelled(data)}}, None, recipe
    )
    (stream,) = inputs.streams
    assert [head.name for head in stream.heads] == ["parts", "kinds"]
    assert "parts: copy_paste is switched off, because its images also have targets of kinds" in listening.lines
    assert inputs.recipe.heads["parts"].copy_paste == 0  # type: ignore[attr-defined]
    source = stream.source(Reading())
    sample = source.augment(stream.dataset[1])
    assert sample.target["kinds"] == 1
    left, _, right, _ = sample.target["parts"]["boxes"][0]
    assert (left, right) == (48 - 21, 48 - 4)
    assert (sample.image[:, ::-1] == stream.dataset[1].image).all()
    targets = stream.targets([sample.target, stream.dataset[2].target])
    batch = model.passes(["parts"])[0].preprocess.batch([sample.image, stream.dataset[2].image])
    images, mixed = stream.mixed(batch, targets)
    assert torch.equal(images.pixels, batch.pixels), "mixup is a setting of the other head"  # type: ignore[union-attr]
    assert mixed["parts"] is targets["parts"]
    torch.testing.assert_close(mixed["kinds"][0], torch.tensor([0.1, 0.8, 0.1]))


def test_samples_are_joined_by_key() -> None:
    listening, model, data = Listening(), detector_and_classifier(), boxed()
    shuffled = replace(labelled(data), records=labelled(data).records[::-1])
    opener = Inputs(model, Processes(pick_device("cpu")), Reading(progress=listening))
    (stream,) = opener.opened({"parts,kinds": {"parts": data, "kinds": shuffled}}, None, joint_recipe(model))[0].streams
    assert [record.target["kinds"] for record in stream.dataset.records] == [0, 1, 2, 0, 1, 2]
    assert [record.target["parts"]["labels"][0] for record in stream.dataset.records] == [0, 1, 2, 0, 1, 2]
    short = replace(shuffled, records=shuffled.records[1:])
    with pytest.raises(InputError, match=r"data 'labelled': 1 samples have no target of the head 'kinds', such as 's05'; heads with"):
        opener.opened({"parts,kinds": {"parts": data, "kinds": short}}, None, joint_recipe(model, min_samples=1))
    skipped = replace(short, skipped=(Fault("s05", "no class", whole=True),))
    (stream,) = opener.opened({"parts,kinds": {"parts": data, "kinds": skipped}}, None, joint_recipe(model, min_samples=1))[0].streams
    assert stream.dataset.keys == data.keys[:-1]
    assert "data 'boxed': 1 samples are left out, because the target of a head was skipped" in listening.lines


# -- weights of the losses --------------------------------------------------------------------------------------------------


def test_fixed_weights_scale_the_gradients_and_not_the_reported_losses(tmp_path: Path) -> None:
    def trained(weights: str | None, name: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
        model = two_classifiers()
        recipe = joint_recipe(model, optimizer="sgd", weight_decay=0.0, warmup=0.0, epochs=1, batch_size={"one": 12, "two": 20})
        run = train(model, DATA, None, replace(recipe, loss_weights=weights, scheduler="constant", grad_accumulation=2), tmp_path / name)
        return run.history[0], run.model.state_dict()

    before = two_classifiers().state_dict()
    (plain, same_weights), (halved, other_weights) = trained(None, "a"), trained("two=0.5", "b")
    assert plain["losses"] == halved["losses"], "one step, so both losses are those of the initial model"
    for name, factor in (("one", 1.0), ("two", 0.5)):
        (key,) = (key for key in before if key.startswith(f"heads.{name}.") and key.endswith("weight"))
        step, other = same_weights[key] - before[key], other_weights[key] - before[key]
        assert step.abs().max() > 1e-4
        torch.testing.assert_close(other, step * factor, atol=1e-7, rtol=1e-3)


def test_learned_uncertainty(tmp_path: Path) -> None:
    model = two_classifiers()
    recipe = joint_recipe(model, loss_weights="uncertainty", lr=0.01, weight_decay=0.5, warmup=0.0, scheduler="constant", optimizer="sgd")
    recipe = replace(recipe, epochs=1, heads={name: replace(own, batch_size=len(DATA[name])) for name, own in recipe.heads.items()})
    run = train(model, DATA, None, recipe, tmp_path / "run")
    entry = run.history[0]
    # one batch of each head: ds = lr · momentum-free gradient of exp(-s) L + s / 2 at s = 0; Nesterov momentum multiplies the first step
    steps = {name: value / (entry["losses"][f"{name}/loss_classifier"] - 0.5) for name, value in entry["log_variances"].items()}
    assert steps["one"] == pytest.approx(steps["two"])
    assert steps["one"] == pytest.approx(0.01 * 1.9)
    stored = torch.load(run.folder / CHECKPOINT, weights_only=True)["weights"]
    assert sorted(float(value) for value in stored.values()) == pytest.approx(sorted(entry["log_variances"].values()))
    assert not any("log_variances" in name for name in run.model.state_dict())
    assert "Learned log-variances of the losses" in (run.folder / "report.html").read_text()


# -- which epoch is kept ------------------------------------------------------------------------------------------------------


def history(*scores: tuple[float | None, float | None]) -> list[dict[str, Any]]:
    return [{"epoch": number, "val": {"a/x": one, "b/y": two}} for number, (one, two) in enumerate(scores, 1)]


@pytest.mark.parametrize(
    ("scores", "best", "waited"),
    [
        ([(0.1, 0.1), (0.2, 0.2), (0.3, 0.1)], 3, 1),  # ranks 1 and 2 of the third, 2 and 1 of the second: equal, so the last is kept
        ([(0.1, 0.1), (0.2, 0.3), (0.15, 0.2)], 2, 1),
        ([(0.5, 0.5)], 1, 0),
        ([(0.5, 0.5), (0.5, 0.5)], 2, 1),  # of equals, the last one is kept, but it isn't better
        ([(0.1, 0.9), (0.9, 0.1)], 2, 1),
        ([(0.9, 0.9), (0.1, 0.1), (0.2, 0.2)], 1, 2),
        ([(None, 0.4), (None, 0.5), (0.1, 0.45)], 3, 1),
        ([(None, None), (0.1, None)], 2, 0),
    ],
)
def test_the_mean_rank_decides(scores: list[tuple[float | None, float | None]], best: int, waited: int) -> None:
    entries = history(*scores)
    found = best_epoch(entries, ["a/x", "b/y"])
    assert found is not None
    assert found["epoch"] == best
    assert epochs_without_better(entries, ["a/x", "b/y"]) == waited
