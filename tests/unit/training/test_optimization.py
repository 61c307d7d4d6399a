"""Optimisation: learning rates of steps and layers, moving average, and optimisers that aren't available."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

import zoo
from zoo.errors import InputError, UnknownNameError
from zoo.models.model import Model
from zoo.task.recipe import Recipe, Scheduling
from zoo.training.optimization import Optimization

RECIPE = Recipe(lr=0.1, optimizer="sgd", weight_decay=0.0, warmup=0.2)


def made(recipe: Recipe, steps: int = 10) -> tuple[Model, Optimization]:
    model = zoo.build("resnet20", num_classes=2)
    return model, Optimization(model, recipe, steps, "fp32", torch.device("cpu"))


def rates(recipe: Recipe, steps: int = 10) -> list[float]:
    model, optimization = made(recipe, steps)
    found = []
    for done in range(steps):
        optimization.backward(model(torch.zeros(2, 3, 32, 32), torch.tensor([0, 1]))["loss_classifier"])
        optimization.step(done)
        found.append(optimization.lr)
    return found


def cosine(part: float) -> float:
    return 0.1 * 0.5 * (1 + math.cos(math.pi * part))


@pytest.mark.parametrize(
    ("scheduler", "expected"),
    [
        ("cosine", [cosine(step / 8) for step in range(8)]),
        ("poly", [0.1 * (1 - step / 8) for step in range(8)]),
        ("step", [0.1, 0.1, 0.1, 0.01, 0.01, 0.01, 0.001, 0.001]),
        ("constant", [0.1] * 8),
    ],
)
def test_the_rate_of_every_step(scheduler: Scheduling, expected: list[float]) -> None:
    """Two steps of warm-up, then the schedule; every step has a learning rate above 0, including the last."""
    found = rates(replace(RECIPE, scheduler=scheduler))
    assert found == pytest.approx([0.05, 0.075, *expected])
    assert min(found) > 0


def test_tanh_falls_without_warm_up() -> None:
    found = rates(replace(RECIPE, scheduler="tanh", warmup=0.0))
    assert found == sorted(found, reverse=True)
    assert found[0] > 0.09


def test_a_run_of_one_step_has_the_whole_rate() -> None:
    assert rates(replace(RECIPE, warmup=0.0), steps=1) == [0.1]


def test_layer_decay_lowers_the_rate_from_stage_to_stage() -> None:
    model, optimization = made(replace(RECIPE, layer_decay=0.5, weight_decay=0.05))
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    scales: dict[str, set[float]] = {}
    for group in optimization.optimizer.param_groups:
        for parameter in group["params"]:
            assert group["weight_decay"] == (0.05 if parameter.ndim > 1 else 0)
            scales.setdefault(names[id(parameter)].split(".")[1], set()).add(group["lr_scale"])
    assert scales == {
        "conv1": {0.5**4}, "bn1": {0.5**4}, "layer1": {0.5**3}, "layer2": {0.25}, "layer3": {0.5}, "classification": {1.0},
    }  # fmt: skip


@pytest.mark.parametrize("backbone", ["resnet18", "resnet18d", "resnetv2_50", "resnext26ts"])
def test_every_parameter_of_a_trunk_has_a_layer(backbone: str) -> None:
    model = zoo.build(backbone, num_classes=2)
    layer = model.group_matcher()
    last = len(model.backbone.stages())
    found = {name: layer(name) for name, _ in model.named_parameters()}
    assert set(found.values()) == set(range(last + 1))
    assert {name for name, number in found.items() if number == last} == {name for name in found if name.startswith("heads.")}


def test_an_unknown_optimiser_names_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown optimizer 'adamv'. Nearest: adam, .*adamw"):
        made(replace(RECIPE, optimizer="adamv"))


def test_the_average_follows_the_weights() -> None:
    model, optimization = made(replace(RECIPE, ema=0.9, lr=1e-3))
    average, own = (one.get_parameter("heads.classification.fc.weight") for one in (optimization.averaged, model))
    for done in range(3):
        before = average.detach().clone()
        optimization.backward(model(torch.zeros(2, 3, 32, 32), torch.tensor([0, 1]))["loss_classifier"])
        optimization.step(done)
        moved, left = (average - before).abs().sum(), (own - average).abs().sum()
        if done == 0:
            assert left == 0  # the average starts from the weights after the first step
        else:
            assert torch.equal((average - before).sign(), (own - before).sign())
            assert 0 < left < 9.5 * moved, "at most nine tenths of the way are left"


@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        ("fusedadam", r"optimizer is 'fusedadam', not available here \((CUDA|APEX)[^)]*\); choose another, such as 'adamw'"),
        ("kronw", "optimizer is 'kronw', which compiles code for each weight shape for hours; choose another"),
        ("adahessian", "optimizer is 'adahessian', which needs second derivatives, .*; choose another"),
    ],
)
def test_an_optimiser_that_can_not_be_had_is_said_before_the_first_step(optimizer: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        made(replace(RECIPE, optimizer=optimizer))


def moved(optimizer: str, fused: bool) -> tuple[list[torch.Tensor], Optimization]:
    """Return a model's parameters after three steps, and the optimisation."""
    torch.manual_seed(0)
    model, optimization = made(replace(RECIPE, optimizer=optimizer, lr=0.01, weight_decay=0.1))
    for group in optimization.optimizer.param_groups:
        group["fused"] = fused
    generator = torch.Generator().manual_seed(1)
    for step in range(3):
        for parameter in model.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        optimization.step(step)
    return [parameter.detach() for parameter in model.parameters()], optimization


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd", "momentum", "nesterov", "adagrad"])
def test_one_pass_over_the_numbers_moves_them_alike(optimizer: str) -> None:
    """Fused and plain kernels agree; a checkpoint of a run with plain kernels continues with them, as set in its parameter groups."""
    ours, optimization = moved(optimizer, fused=True)
    theirs, plain = moved(optimizer, fused=False)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
    assert all(group["fused"] for group in made(replace(RECIPE, optimizer=optimizer))[1].optimizer.param_groups)
    optimization.load_state_dict(plain.state_dict())
    assert not any(group["fused"] for group in optimization.optimizer.param_groups)


@pytest.mark.parametrize("optimizer", ["lamb", "rmsprop"])
def test_optimisers_without_such_kernels_are_as_ever(optimizer: str) -> None:
    assert not any(group.get("fused") for group in made(replace(RECIPE, optimizer=optimizer))[1].optimizer.param_groups)


def test_parameters_that_get_their_first_gradient_later() -> None:
    """With several heads, as with gradual unfreezing, torch's fused SGD would fail."""
    model = zoo.build("resnet20", {"one": "classification", "two": "classification"}, num_classes={"one": 2, "two": 2})
    optimization = Optimization(model, RECIPE, 4, "fp32", torch.device("cpu"))
    for done, name in enumerate(("one", "two", "one")):
        before = model.heads[name].fc.weight.clone()  # type: ignore[operator,union-attr]
        optimization.backward(model(torch.ones(2, 3, 32, 32), {name: torch.tensor([0, 1])})[f"{name}/loss_classifier"])
        optimization.step(done)
        assert not torch.equal(model.heads[name].fc.weight, before)  # type: ignore[arg-type,union-attr]
