"""Batch-norm, sum and ReLU in one kernel: against float64, in blocks and in whole backbones."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from timm.models.resnet import BasicBlock
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

import zoo
from tests.blocks import BLOCKS, CPU, LAST, NORMS, built, drawn, needs_compiler, nodes, run
from zoo.backbones import BACKBONES, Backbone
from zoo.data.dataset import Sample
from zoo.kernels.batchnorm import normalise
from zoo.kernels.library import library
from zoo.kernels.overrides import fused, training_kernels
from zoo.tasks.classification.options import ClassificationRecipe

pytestmark = needs_compiler


def activated(
    number: torch.dtype, maps: Tensor, addend: Tensor | None, direction: Tensor, compute: Callable[..., Tensor]
) -> dict[str, Tensor]:
    """Return the output, gradients and running statistics of relu(norm(maps) + addend), computed in a dtype."""
    channels = maps.shape[1]
    generator = torch.Generator().manual_seed(channels)
    weight, bias, mean, var = (torch.randn(channels, generator=generator) * 0.5 + 1 for _ in range(4))
    leaves = [
        each.detach().clone(memory_format=torch.preserve_format).to(number).requires_grad_() for each in (maps, addend) if each is not None
    ]
    exact = torch.float64 if number == torch.float64 else torch.float32
    vectors = [each.to(exact, copy=True) for each in (weight, bias, mean, var)]
    learning = [each.requires_grad_() for each in vectors[:2]]
    answer = compute(leaves[0], *vectors[2:], *learning, leaves[1] if addend is not None else None)
    torch.autograd.backward(answer, direction.to(number))
    found = {"answer": answer.detach(), "mean": vectors[2], "var": vectors[3]}
    named = {"input": leaves[0], "weight": learning[0], "bias": learning[1], **({"addend": leaves[1]} if addend is not None else {})}
    return found | {name: leaf.grad for name, leaf in named.items() if leaf.grad is not None}


def by_torch(maps: Tensor, mean: Tensor, var: Tensor, weight: Tensor, bias: Tensor, addend: Tensor | None) -> Tensor:
    answer = F.batch_norm(maps, mean, var, weight, bias, True, 0.1, 1e-5)
    return F.relu(answer if addend is None else answer + addend)


def by_kernel(maps: Tensor, mean: Tensor, var: Tensor, weight: Tensor, bias: Tensor, addend: Tensor | None) -> Tensor:
    answer = normalise(maps, mean, var, weight, bias, True, 0.1, 1e-5, relu=True, addend=addend)
    assert answer is not None
    return answer


@pytest.mark.parametrize("threads", [1, 2, 64])  # more threads than blocks
@pytest.mark.parametrize("size", [(8, 64, 28, 28), (3, 272, 17, 13), (2, 2048, 7, 7), (4, 17, 64, 65), (1, 40000, 1, 2), (5, 300, 9, 5)])
@pytest.mark.parametrize("summed", [False, True])
def test_values_gradients_and_statistics_are_those_of_float64(size: tuple[int, ...], summed: bool, threads: int) -> None:
    maps, addend, direction = drawn(*size), drawn(*size, seed=1) if summed else None, drawn(*size, seed=2)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found = activated(torch.bfloat16, maps, addend, direction, by_kernel)
        again = activated(torch.bfloat16, maps, addend, direction, by_kernel)
        plain = activated(torch.bfloat16, maps, addend, direction, by_torch)
    finally:
        torch.set_num_threads(before)
    exact = activated(torch.float64, maps, addend, direction, by_torch)
    assert found.keys() == exact.keys() == plain.keys()
    for name, ours in found.items():
        assert torch.equal(ours, again[name]), name
        assert (ours.dtype, ours.shape, ours.stride()) == (plain[name].dtype, plain[name].shape, plain[name].stride()), name
        error, theirs = (float((each.double() - exact[name]).norm() / exact[name].norm()) for each in (ours, plain[name]))
        # the only error is the rounding of the result, whereas torch also rounds intermediate results
        assert error < (2e-3 if ours.dtype == torch.bfloat16 else 2e-5) or error <= theirs, (name, error, theirs)


@pytest.mark.parametrize("summed", [False, True])
def test_no_numbers_stay_none_and_poison_their_channel_alone(summed: bool) -> None:
    maps, addend = drawn(4, 64, 16, 16), drawn(4, 64, 16, 16, seed=1)
    maps[0, 3, 0, 0], maps[1, 5, 0, 0] = float("nan"), float("inf")
    addend[2, 9, 4, 4] = float("nan")
    found = activated(torch.bfloat16, maps, addend if summed else None, drawn(4, 64, 16, 16, seed=2), by_kernel)
    wanted = activated(torch.bfloat16, maps, addend if summed else None, drawn(4, 64, 16, 16, seed=2), by_torch)
    for name in ("answer", "input"):
        assert torch.equal(torch.isfinite(found[name]), torch.isfinite(wanted[name])), name


def test_what_is_frozen_gets_no_gradient() -> None:
    maps, addend, vectors = drawn(4, 64, 16, 16), drawn(4, 64, 16, 16, seed=1), [torch.ones(64), torch.zeros(64)]
    leaves = [maps, *vectors, addend]
    for leaf in leaves:
        leaf.requires_grad_()
        answer = normalise(maps, None, None, vectors[0], vectors[1], training=True, relu=True, addend=addend)
        assert answer is not None
        torch.autograd.backward(answer.sum())
        assert [each.grad is not None for each in leaves] == [each is leaf for each in leaves]
        leaf.grad = None
        leaf.requires_grad_(False)


@pytest.mark.parametrize(
    "addend",
    [
        torch.zeros(4, 64, 16, 16).to(memory_format=LAST),
        torch.zeros(4, 64, 16, 16, dtype=torch.bfloat16),
        torch.zeros(1, 64, 16, 16, dtype=torch.bfloat16).to(memory_format=LAST),
    ],
    ids=["float32", "channels first", "to be broadcast"],
)
def test_other_sums_are_not_taken_along(addend: Tensor) -> None:
    maps = drawn(4, 64, 16, 16)
    assert normalise(maps, None, None, torch.ones(64), torch.zeros(64), training=True, relu=True, addend=addend) is None
    block = BasicBlock(64, 64, downsample=Shortcut(addend)).to(memory_format=LAST)
    answers = []
    for model in (nn.Identity(), block):
        with torch.autocast("cpu", torch.bfloat16), training_kernels(model, "bf16", CPU):
            answers.append(block(maps.requires_grad_()))
    assert torch.equal(*answers)
    assert [nodes(answer)["ReluBackward0"] for answer in answers] == [
        2,
        1,
    ]  # the ReLU after the sum is the block's own; the other one is fused


class Shortcut(nn.Module):
    """Returns a fixed tensor."""

    def __init__(self, addend: Tensor) -> None:
        super().__init__()
        self.addend = addend

    def forward(self, x: Tensor) -> Tensor:
        return self.addend


@pytest.mark.parametrize("follows", [{}, {"relu": True, "addend": drawn(4, 64, 16, 16, seed=1)}], ids=["nothing", "a sum"])
def test_a_bias_may_change_before_backward_where_nothing_needs_it(follows: dict[str, Any]) -> None:
    maps, weight, bias = drawn(4, 64, 16, 16).requires_grad_(), torch.ones(64), torch.zeros(64)
    answer = normalise(maps, None, None, weight, bias, training=True, **follows)
    assert answer is not None
    bias.add_(1)
    torch.autograd.backward(answer.sum())
    assert maps.grad is not None


@pytest.mark.parametrize("name", BLOCKS)
def test_known_blocks_compute_the_same_in_one_kernel(name: str) -> None:
    block, maps = built(name)
    (found, graph), (apart, _), (exact, _) = (
        run(block, maps, "bf16", True),
        run(block, maps, "bf16", False),
        run(block, maps, "fp32", False),
    )
    assert graph["_NormBackward"] == NORMS[name]
    assert not [kind for kind in graph if kind.startswith(("Relu", "Add", "NativeBatchNorm"))]
    assert found.keys() == exact.keys()
    for key, wanted in exact.items():
        if wanted.dtype == torch.int64:
            assert int(found[key]) == int(wanted) == 1
            continue
        error, theirs = (float((each[key].float() - wanted.float()).norm() / wanted.float().norm()) for each in (found, apart))
        assert error < max(1.2 * theirs, 1e-5), (key, error, theirs)


def test_frozen_norms_compute_as_ever() -> None:
    block, maps = built("bottleneck, strided")
    (found, graph), (wanted, plain) = (run(block.eval(), maps, "bf16", known) for known in (True, False))
    assert graph == plain
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_norms_that_average_over_all_batches() -> None:
    block, maps = built("basic")
    for module in block.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
    found, wanted = run(block, maps, "bf16", True)[0], run(block, maps, "bf16", False)[0]
    for name in ("bn1.running_mean itself", "bn1.running_var itself", "bn1.num_batches_tracked itself"):
        assert torch.equal(found[name], wanted[name]), name


@pytest.mark.parametrize("reentrant", [False, True])
def test_what_is_computed_again_for_backward(reentrant: bool) -> None:
    block, maps = built("bottleneck, strided")
    (wanted, _), (apart, _) = run(block, maps, "fp32", False), run(block, maps, "bf16", False)
    leaf = maps.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16), training_kernels(block, "bf16", CPU):
        answer = checkpoint(block, leaf, use_reentrant=reentrant)
    answer.backward(drawn(*answer.shape, seed=5))
    assert leaf.grad is not None
    error, theirs = (float((each.float() - wanted["input"]).norm()) for each in (leaf.grad, apart["input"]))
    assert error < 1.2 * theirs


# name, number of norms that are followed by an activation in known blocks and stems, number of norms
TRUNKS = [("resnet18", 17, 20), ("resnet50", 49, 53), ("resnet50d", 49, 55), ("seresnet50", 1, 53), ("resnet20", 19, 19)]


@pytest.mark.parametrize(("name", "activations", "norms"), TRUNKS)
def test_trunks(name: str, activations: int, norms: int) -> None:
    trunk: Backbone = BACKBONES[name].create().bfloat16()
    joined: list[nn.Module] = []

    def activate(norm: nn.Module, maps: Tensor, addend: Tensor | None = None) -> Tensor:
        joined.append(norm)
        answer: Tensor = norm(maps)
        return F.relu(answer if addend is None else answer + addend)

    images = torch.rand(2, 3, 64, 64).bfloat16()
    wanted = copy.deepcopy(trunk)(images)
    with fused(trunk, activate):
        found = trunk(images)
    assert (len(joined), len(set(joined))) == (activations, activations)
    assert sum(isinstance(module, nn.BatchNorm2d) for module in trunk.modules()) == norms
    assert list(found) == [level.name for level in trunk.levels]
    assert all(torch.equal(found[level], wanted[level]) for level in wanted)


def test_a_trunk_that_computes_again_for_backward_does_so() -> None:
    trunk: Any = BACKBONES["resnet18"].create()
    trunk.net.set_grad_checkpointing()
    calls = []
    trunk.net.layer1[0].conv1.register_forward_pre_hook(lambda *_: calls.append(1))
    with training_kernels(trunk, "bf16", CPU):
        trunk(torch.rand(2, 3, 64, 64))["c5"].sum().backward()
    assert len(calls) == 2


def test_training_in_bf16_computes_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All steps of a run on the CPU use the kernels, and the losses are those of the same run without them."""
    generator = np.random.default_rng(0)
    samples = [Sample(generator.integers(0, 256, (64, 64, 3), dtype=np.uint8), index % 2, str(index)) for index in range(4)]
    kinds: list[str] = []

    def losses(out: Path) -> list[float]:
        torch.manual_seed(0)
        model = zoo.build("resnet18", "classification", num_classes=2, image_size=64)
        block: nn.Module = model.backbone.get_submodule("net.layer1.1")
        block.register_forward_hook(lambda module, given, answer: kinds.append(type(answer.grad_fn).__name__))
        recipe = ClassificationRecipe(epochs=3, batch_size=4, precision="bf16", crop_scale=1.0, flip=0.0)
        return [entry["loss"] for entry in zoo.train(model, samples, recipe=recipe, out=out, device="cpu").history]

    assert library("batch_norm") is not None
    found = losses(tmp_path / "own")
    assert kinds.count("_NormBackward") == 3
    monkeypatch.setattr("zoo.kernels.overrides.library", lambda name: None)
    kinds.clear()
    assert found == pytest.approx(losses(tmp_path / "torch"), rel=0.05)
    assert kinds.count("ReluBackward0") == 3
