"""Blocks whose batch-norm, sum and ReLU are one kernel: against the same in float64, and which blocks are left as they are."""

from __future__ import annotations

import copy
import shutil
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from facenet_pytorch.models.inception_resnet_v1 import BasicConv2d
from timm.models.resnet import BasicBlock, Bottleneck, downsample_conv
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

import zoo
import zoo.backbones.inception_resnet_v1
import zoo.backbones.timm
from zoo.backbones import BACKBONES, Backbone
from zoo.backbones.cifar import BasicBlock as CifarBlock
from zoo.batch_norm import normalise
from zoo.block_fusion import fused
from zoo.data import Sample
from zoo.native import library
from zoo.tasks.classification.recipe import ClassificationRecipe
from zoo.training_kernels import training_kernels

CPU = torch.device("cpu")
LAST = torch.channels_last
pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("g++") is None, reason="the kernels need Linux and a C++ compiler (g++)"
)


def drawn(*size: int, seed: int = 0, scale: float = 1.0) -> Tensor:
    """Return maps in bf16, every channel with a mean and a deviation of its own."""
    generator = torch.Generator().manual_seed(seed)
    spread, middle = torch.rand(1, size[1], 1, 1, generator=generator) + 0.2, torch.randn(1, size[1], 1, 1, generator=generator)
    return ((torch.randn(size, generator=generator) * spread + middle) * scale).bfloat16().to(memory_format=LAST)


def activated(
    number: torch.dtype, maps: Tensor, addend: Tensor | None, direction: Tensor, compute: Callable[..., Tensor]
) -> dict[str, Tensor]:
    """Return the answer, gradients and running statistics of relu(norm(maps) + addend), computed in a type of numbers."""
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


@pytest.mark.parametrize("threads", [1, 2, 64])  # more than blocks
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
        # rounding of the answer is all that there is, where torch rounds in between, too
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
    block = Shortcut(addend)
    answers = []
    for model in (nn.Identity(), block):
        torch.manual_seed(0)
        with torch.autocast("cpu", torch.bfloat16), training_kernels(model, "bf16", CPU):
            answers.append(block(maps.requires_grad_()))
    assert torch.equal(*answers)


class Shortcut(CifarBlock):
    """A block whose shortcut answers something of its own."""

    def __init__(self, addend: Tensor) -> None:
        super().__init__(64, 64, 1)
        self.addend = addend

    def shortcut(self, x: Tensor) -> Tensor:
        return self.addend


BLOCKS: dict[str, Callable[[], nn.Module]] = {
    "basic": lambda: BasicBlock(64, 64),
    "basic, strided": lambda: BasicBlock(32, 64, 2, downsample_conv(32, 64, 1, 2)),
    "bottleneck": lambda: Bottleneck(128, 32),
    "bottleneck, strided": lambda: Bottleneck(64, 32, 2, downsample_conv(64, 128, 1, 2)),
    "bottleneck, grouped": lambda: Bottleneck(128, 32, cardinality=32, base_width=8),
    "CIFAR": lambda: CifarBlock(64, 64, 1),
    "CIFAR, strided": lambda: CifarBlock(32, 64, 2),
    "convolution": lambda: BasicConv2d(64, 96, 3, 1, 1),
}
NORMS = {"basic": 2, "basic, strided": 3, "bottleneck": 3, "bottleneck, strided": 4, "bottleneck, grouped": 3}
NORMS |= {"CIFAR": 2, "CIFAR, strided": 2, "convolution": 1}


def nodes(answer: Tensor) -> Counter[str]:
    """Count the nodes of autograd's graph by name."""
    seen, left = set(), [answer.grad_fn]
    while left:
        node = left.pop()
        if node is not None and node not in seen:
            seen.add(node)
            left += [following for following, _ in node.next_functions]
    return Counter(type(node).__name__ for node in seen)


def built(name: str) -> tuple[nn.Module, Tensor]:
    """Return a block with drawn parameters, and maps for it."""
    torch.manual_seed(1)
    block = BLOCKS[name]().to(memory_format=LAST)
    for module in block.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
    return block, drawn(4, next(block.parameters()).shape[1], 32, 32)


def run(block: nn.Module, maps: Tensor, precision: str, known: bool) -> tuple[dict[str, Tensor], Counter[str]]:
    """Return what a copy of the block computes and has afterwards, by name, and autograd's nodes."""
    block = copy.deepcopy(block)
    leaf = (
        maps.detach()
        .clone(memory_format=torch.preserve_format)
        .to(torch.bfloat16 if precision == "bf16" else torch.float32)
        .requires_grad_()
    )
    kernels = training_kernels(block if known else nn.Identity(), precision, CPU)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"), kernels:
        answer = block(leaf)
    assert not any("forward" in vars(module) for module in block.modules())
    direction = drawn(*answer.shape, seed=5)
    graph = nodes(answer)
    answer.backward(direction.to(answer.dtype))
    assert leaf.grad is not None
    found = {"answer": answer.detach(), "input": leaf.grad} | {name: each.grad for name, each in block.named_parameters()}
    return found | {f"{name} itself": each for name, each in block.named_buffers()}, graph


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


def watch(block: nn.Module, name: str) -> None:
    block.get_submodule(name).register_forward_hook(lambda *_: None)


def watch_before(block: nn.Module, name: str) -> None:
    block.get_submodule(name).register_forward_pre_hook(lambda *_: None)


def watch_back(block: nn.Module, name: str) -> None:
    block.get_submodule(name).register_full_backward_hook(lambda *_: None)


class Swish(nn.ReLU):
    """Another activation, which says it is a ReLU."""

    def forward(self, input: Tensor) -> Tensor:
        return F.silu(input)


def override(block: nn.Module, name: str) -> None:
    module = block.get_submodule(name)
    module.forward = lambda given, own=module.forward: own(given) * 1.5


def another(block: nn.Module, name: str) -> None:
    block.set_submodule(name, Swish())


def group_norm(block: nn.Module, name: str) -> None:
    block.set_submodule(name, nn.GroupNorm(4, 32))


def add_part(block: nn.Module, name: str) -> None:
    setattr(block, name, nn.Sigmoid())


CHANGES = [(change, name) for change in (watch, watch_before, watch_back, override) for name in ("bn1", "act3", "drop_block")]
CHANGES += [(another, "act2"), (another, "act3"), (group_norm, "bn1"), (add_part, "se"), (add_part, "drop_path"), (add_part, "aa")]


@pytest.mark.parametrize(("change", "name"), CHANGES)
def test_blocks_with_anything_else_in_them_are_left_alone(change: Callable[[nn.Module, str], None], name: str) -> None:
    block, maps = Bottleneck(128, 32).to(memory_format=LAST), drawn(4, 128, 32, 32)
    for activation in (block.act1, block.act2, block.act3):
        activation.inplace = False  # backward hooks ask for that
    change(block, name)
    answers = []
    for model in (nn.Identity(), block):
        with torch.autocast("cpu", torch.bfloat16), training_kernels(model, "bf16", CPU):
            answers.append(block(maps.clone(memory_format=torch.preserve_format).requires_grad_()))
    assert torch.equal(*answers)
    assert nodes(answers[1]) == nodes(answers[0])


def test_blocks_computed_otherwise_by_somebody_stay_so() -> None:
    block, maps = Bottleneck(128, 32).to(memory_format=LAST), drawn(4, 128, 32, 32)
    own = lambda given: given * 2  # noqa: E731
    block.forward = own
    with training_kernels(block, "bf16", CPU):
        assert torch.equal(block(maps), maps * 2)
    assert block.forward is own


def test_a_hook_for_all_modules_sees_all_of_them() -> None:
    block, maps, seen = Bottleneck(128, 32).to(memory_format=LAST), drawn(4, 128, 32, 32), []
    handle = nn.modules.module.register_module_forward_hook(lambda module, *_: seen.append(module))
    try:
        with torch.autocast("cpu", torch.bfloat16), training_kernels(block, "bf16", CPU):
            block(maps)
    finally:
        handle.remove()
    assert block.act3 in seen


def test_hooks_of_the_block_itself_see_it() -> None:
    block, maps, seen = Bottleneck(128, 32).to(memory_format=LAST), drawn(4, 128, 32, 32), []
    block.register_forward_hook(lambda module, given, answer: seen.append(answer))
    with torch.autocast("cpu", torch.bfloat16), training_kernels(block, "bf16", CPU):
        answer = block(maps.requires_grad_())
    assert seen[0] is answer
    assert nodes(answer)["_NormBackward"] == 3


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


def test_blocks_are_as_they_were_after_an_error() -> None:
    block = Bottleneck(128, 32)
    with pytest.raises(RuntimeError, match="expected input"), training_kernels(block, "bf16", CPU):
        block(drawn(4, 64, 32, 32).float())
    assert "forward" not in vars(block)


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


# names, how many norms are followed by an activation in known blocks and stems, and how many there are
TRUNKS = [("resnet18", 17, 20), ("resnet50", 49, 53), ("resnet50d", 49, 55), ("seresnet50", 1, 53), ("resnet20", 19, 19)]


@pytest.mark.parametrize(("name", "activations", "norms"), TRUNKS)
def test_trunks(name: str, activations: int, norms: int) -> None:
    trunk: Backbone = BACKBONES[name].create().to(memory_format=LAST)
    joined: list[nn.Module] = []

    def activate(norm: nn.Module, maps: Tensor, addend: Tensor | None = None) -> Tensor:
        joined.append(norm)
        answer: Tensor = norm(maps)
        return F.relu(answer if addend is None else answer + addend)

    images = torch.rand(2, 3, 64, 64)
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
    """Every step of a run on a CPU, whose losses are those of the same run without."""
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
    monkeypatch.setattr("zoo.training_kernels.library", lambda name: None)
    kinds.clear()
    assert found == pytest.approx(losses(tmp_path / "torch"), rel=0.05)
    assert kinds.count("ReluBackward0") == 3
