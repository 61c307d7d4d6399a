"""Batch-norm by the zoo's kernels against torch's in float32: values, gradients, running statistics, and cases left to torch."""

from __future__ import annotations

import contextlib
import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.checkpoint import checkpoint

import zoo
from tests.blocks import CPU, LAST, needs_compiler
from zoo.data.dataset import Sample
from zoo.kernels.overrides import training_kernels
from zoo.tasks.classification.options import ClassificationRecipe


def layer(channels: int, **settings: Any) -> nn.BatchNorm2d:
    """Return a layer with random parameters and running statistics."""
    generator = torch.Generator().manual_seed(channels)
    norm = nn.BatchNorm2d(channels, **settings)
    for tensor in norm.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
    return norm


def maps(*size: int, mean: float = 0.0) -> Tensor:
    """Return random bf16 maps, with a different deviation for every channel."""
    generator = torch.Generator().manual_seed(7)
    spread = torch.rand(1, size[1], 1, 1, generator=generator) * 3 + 0.1
    return (torch.randn(size, generator=generator) * spread + mean).bfloat16().to(memory_format=LAST)


def computed(norm: nn.BatchNorm2d, given: Tensor, context: Any = None) -> dict[str, Tensor]:
    """Return the output, the gradients for a random direction and the running statistics of a copy of the layer."""
    norm, given = copy.deepcopy(norm), given.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    with context or contextlib.nullcontext():
        answer = norm(given)
    generator = torch.Generator().manual_seed(1)
    direction = torch.randn(answer.shape, generator=generator).bfloat16().to(memory_format=LAST)
    answer.backward(direction.to(answer.dtype))
    found = {"answer": answer.detach(), "input": given.grad, "weight": norm.weight.grad, "bias": norm.bias.grad}
    found |= {"mean": norm.running_mean, "var": norm.running_var, "batches": norm.num_batches_tracked}
    return {name: tensor for name, tensor in found.items() if tensor is not None}


def own() -> Any:
    """Return the context in which training runs."""
    return training_kernels(nn.Identity(), "bf16", CPU)


def node(norm: nn.Module, given: Tensor, context: Any = None) -> str:
    """Return the name of a layer's node in autograd's graph."""
    with context or own():
        return type(norm(given).grad_fn).__name__


@needs_compiler
@pytest.mark.parametrize("threads", [1, 2, 64])  # more threads than blocks
@pytest.mark.parametrize(
    ("size", "mean"),
    [
        ((16, 64, 56, 56), 0.0),
        ((3, 256, 17, 13), 4.0),
        ((2, 2048, 7, 7), -1.0),
        ((5, 24, 31, 33), 30.0),
        ((4, 17, 64, 65), 0.0),
        ((1, 40000, 1, 2), 0.0),
    ],
)
def test_values_gradients_and_statistics_are_those_of_float32(size: tuple[int, ...], mean: float, threads: int) -> None:
    given, norm, before = maps(*size, mean=mean), layer(size[1]), torch.get_num_threads()
    assert node(copy.deepcopy(norm), given.requires_grad_()) == "_NormBackward"
    torch.set_num_threads(threads)
    try:
        found, plain = computed(norm, given, own()), computed(norm, given)
    finally:
        torch.set_num_threads(before)
    exact = computed(copy.deepcopy(norm).double(), given.double().contiguous())
    assert found.keys() == plain.keys() == exact.keys()
    for name, ours in found.items():
        theirs, wanted = plain[name], exact[name].double()
        assert (ours.dtype, ours.shape, ours.stride()) == (theirs.dtype, theirs.shape, theirs.stride())
        error, theirs_off = (float((each.double() - wanted).norm() / wanted.norm()) for each in (ours, theirs))
        # the only error besides torch's own in float32 is the rounding to 8 bits
        assert error < (2e-3 if ours.dtype == torch.bfloat16 else 2e-5) or error <= theirs_off, (name, error, theirs_off)


@needs_compiler
def test_rounding_is_torchs_own_and_what_is_no_number_stays_none() -> None:
    """In a layer whose only effect is rounding, ties go to the even number; a NaN affects its channel and no other."""
    given = maps(4, 64, 16, 16)
    given[0, 3, 0, 0] = float("nan")
    given[1, 5, 0, 0] = float("inf")
    norm = layer(64)
    norm.weight.data[7:8] = torch.tensor([0x7FFFFFFF], dtype=torch.int32).view(torch.float32)  # a NaN that would become zero if rounded up
    with own():
        answer = norm(given)
    broken = ~torch.isfinite(answer).all(dim=(0, 2, 3))
    assert broken.nonzero().flatten().tolist() == [3, 5, 7]
    assert bool(torch.isnan(answer[:, [3, 7]]).all())
    norm = layer(64)
    norm.eps = 1e-12
    values = torch.linspace(-2, 2, 4 * 16 * 16)
    values = (values - values.mean()) / values.std(correction=0)
    given = values.view(4, 1, 16, 16).expand(4, 64, 16, 16).bfloat16().contiguous(memory_format=LAST)
    with own():
        answer = norm(given)
    statistics = given.double().mean((0, 2, 3)), given.double().var((0, 2, 3), correction=0)
    exact = torch.nn.functional.batch_norm(given.double(), *statistics, norm.weight.double(), norm.bias.double(), eps=1e-12)
    assert float((answer == exact.bfloat16()).double().mean()) > 0.999  # the others are ties within rounding in float32


@needs_compiler
def test_the_same_numbers_every_time() -> None:
    given, norm = maps(8, 128, 28, 28), layer(128)
    first, second = (computed(norm, given, own()) for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


@needs_compiler
@pytest.mark.parametrize(
    ("input_learns", "weight_learns", "bias_learns"), [(True, False, False), (False, True, False), (False, False, True)]
)
def test_what_is_frozen_gets_no_gradient(input_learns: bool, weight_learns: bool, bias_learns: bool) -> None:
    given, norm = maps(4, 64, 16, 16).requires_grad_(input_learns), layer(64)
    norm.weight.requires_grad_(weight_learns)
    norm.bias.requires_grad_(bias_learns)
    with own():
        norm(given).float().square().sum().backward()
    assert [each.grad is not None for each in (given, norm.weight, norm.bias)] == [input_learns, weight_learns, bias_learns]


@needs_compiler
@pytest.mark.parametrize("kind", ["channels first", "expanded"])
def test_a_gradient_in_another_layout(kind: str) -> None:
    given, norm = maps(4, 64, 16, 16), layer(64)
    direction = torch.randn(4, 64, 1 if kind == "expanded" else 16, 16).bfloat16().expand(4, 64, 16, 16)
    gradients = []
    for context in (contextlib.nullcontext(), own()):
        leaf = given.clone(memory_format=torch.preserve_format).requires_grad_()
        with context:
            answer = norm(leaf)
        answer.backward(direction)
        assert leaf.grad is not None
        gradients.append(leaf.grad.float())
    assert float((gradients[0] - gradients[1]).norm() / gradients[0].norm()) < 0.004


@needs_compiler
@pytest.mark.parametrize(
    ("settings", "size", "dtype", "layout"),
    [
        ({}, (4, 64, 4, 4), torch.bfloat16, LAST),  # too small
        ({}, (4, 64, 16, 16), torch.float32, LAST),
        ({}, (4, 64, 16, 16), torch.bfloat16, torch.contiguous_format),
        ({"affine": False}, (4, 64, 16, 16), torch.bfloat16, LAST),
        ({"dtype": torch.bfloat16}, (4, 64, 16, 16), torch.bfloat16, LAST),
        ({"dtype": torch.float64}, (4, 64, 16, 16), torch.bfloat16, LAST),
    ],
)
def test_others_stay_with_torch(settings: dict[str, Any], size: tuple[int, ...], dtype: torch.dtype, layout: torch.memory_format) -> None:
    given = maps(*size).to(dtype).contiguous(memory_format=layout).requires_grad_()
    with contextlib.suppress(RuntimeError):  # torch raises an error if it has no kernel
        assert node(nn.BatchNorm2d(64, **settings), given) == "NativeBatchNormBackward0"


@needs_compiler
def test_evaluation_other_precisions_and_devices_stay_with_torch() -> None:
    given = maps(4, 64, 16, 16).requires_grad_()
    assert node(layer(64).eval(), given) == "NativeBatchNormBackward0"
    for precision, device in (("fp32", "cpu"), ("bf16", "cuda"), ("fp16", "cuda")):
        assert node(layer(64), given, training_kernels(nn.Identity(), precision, torch.device(device))) == "NativeBatchNormBackward0"
    assert node(layer(64, track_running_stats=False), given) == "_NormBackward"


@needs_compiler
def test_one_value_per_channel_is_refused_as_ever() -> None:
    given = torch.randn(1, 2**15, 1, 1).bfloat16().to(memory_format=LAST)
    with own(), pytest.raises(ValueError, match="Expected more than 1 value per channel"):
        layer(2**15)(given)


@pytest.mark.parametrize("reentrant", [False, True])
def test_what_is_computed_again_for_backward_is_so_by_torch(reentrant: bool) -> None:
    given, norm = maps(4, 64, 16, 16), layer(64)
    wanted = computed(norm, given)
    leaf = given.clone(memory_format=torch.preserve_format).requires_grad_()
    with own():
        answer = checkpoint(norm, leaf, use_reentrant=reentrant)
    generator = torch.Generator().manual_seed(1)
    answer.backward(torch.randn(answer.shape, generator=generator).bfloat16().to(memory_format=LAST))
    assert leaf.grad is not None
    assert float((leaf.grad.float() - wanted["input"].float()).norm() / wanted["input"].float().norm()) < 0.004


@needs_compiler
def test_what_has_to_see_torchs_own_function_does(monkeypatch: pytest.MonkeyPatch) -> None:
    given, norm = maps(4, 64, 16, 16), layer(64, track_running_stats=False)
    with own():
        found = torch.func.grad(lambda leaf: norm(leaf).float().square().mean())(given)
    assert found.shape == given.shape
    with FakeTensorMode(allow_non_fake_inputs=True) as mode, own():
        assert norm(mode.from_tensor(given)).shape == given.shape
    monkeypatch.delattr(torch._C, "_are_functorch_transforms_active")  # another version of torch
    assert node(norm, given.requires_grad_()) == "NativeBatchNormBackward0"


@needs_compiler
def test_training_in_bf16_computes_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All steps of a run on the CPU use the kernels, and the losses are those of the same run with torch."""
    generator = np.random.default_rng(0)
    samples = [Sample(generator.integers(0, 256, (64, 64, 3), dtype=np.uint8), index % 2, str(index)) for index in range(4)]
    kinds: list[str] = []

    def note(module: nn.Module, arguments: Any, answer: Tensor) -> None:
        if answer.grad_fn is not None:
            kinds.append(type(answer.grad_fn).__name__)

    def losses(out: Path) -> list[float]:
        torch.manual_seed(0)
        model = zoo.build("resnet18", "classification", num_classes=2, image_size=64)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.register_forward_hook(note)
        recipe = ClassificationRecipe(epochs=3, batch_size=4, precision="bf16", crop_scale=1.0, flip=0.0)
        return [entry["loss"] for entry in zoo.train(model, samples, recipe=recipe, out=out, device="cpu").history]

    found = losses(tmp_path / "own")
    assert kinds.count("_NormBackward") == 3 * 10  # epochs × layers whose maps have at least 2¹⁵ numbers: the stem and the first two stages
    assert kinds.count("NativeBatchNormBackward0") == 3 * 10
    monkeypatch.setattr("zoo.kernels.overrides.library", lambda name: None)
    kinds.clear()
    assert found == pytest.approx(losses(tmp_path / "torch"), rel=0.05)
    assert "_NormBackward" not in kinds
