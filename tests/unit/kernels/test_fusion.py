"""Which blocks are computed by their fused functions, and which are computed as usual."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from timm.models.resnet import Bottleneck
from torch import Tensor, nn
from torch.nn import functional as F

from tests.blocks import CPU, LAST, drawn, needs_compiler, nodes
from zoo.backbones.cifar import BasicBlock as CifarBlock
from zoo.kernels.overrides import fused, training_kernels

pytestmark = needs_compiler


def watch(block: nn.Module, name: str) -> None:
    block.get_submodule(name).register_forward_hook(lambda *_: None)


def watch_before(block: nn.Module, name: str) -> None:
    block.get_submodule(name).register_forward_pre_hook(lambda *_: None)


def watch_back(block: nn.Module, name: str) -> None:
    block.get_submodule(name).register_full_backward_hook(lambda *_: None)


class Swish(nn.ReLU):
    """Another activation, as a subclass of ReLU."""

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
        activation.inplace = False  # required by backward hooks
    change(block, name)
    answers = []
    for model in (nn.Identity(), block):
        with torch.autocast("cpu", torch.bfloat16), training_kernels(model, "bf16", CPU):
            answers.append(block(maps.clone(memory_format=torch.preserve_format).requires_grad_()))
    assert torch.equal(*answers)
    assert nodes(answers[1]) == nodes(answers[0])


def plainly(block: nn.Module, maps: Tensor) -> bool:
    """Return whether a block is computed as usual, judged by whether ReLU has a separate node."""
    with torch.autocast("cpu", torch.bfloat16):
        return nodes(block(maps.requires_grad_()))["ReluBackward0"] > 0


def test_what_changes_on_the_way_is_seen() -> None:
    block, maps = Bottleneck(128, 32).to(memory_format=LAST), drawn(4, 128, 32, 32)
    with training_kernels(block, "bf16", CPU):
        assert not plainly(block, maps)
        handle = block.bn1.register_forward_hook(lambda *_: None)
        assert plainly(block, maps)
        handle.remove()
        assert not plainly(block, maps)
        with torch.autocast("cpu", torch.bfloat16):
            assert nodes(block(x=maps.requires_grad_()))["ReluBackward0"] == 3
        del block.drop_path
        with torch.autocast("cpu", torch.bfloat16), pytest.raises(AttributeError, match="drop_path"):  # the block's own message
            block(maps)
    assert "forward" not in vars(block)


def refuse(norm: nn.Module, maps: Tensor, addend: Tensor | None = None) -> Tensor:
    """Raise an error: an `Activate` for tests of whether a block calls it."""
    raise ValueError("asked")


def test_other_threads_compute_as_ever() -> None:
    block, maps = Bottleneck(128, 32).to(memory_format=LAST), drawn(4, 128, 32, 32).float()
    with fused(block, refuse), ThreadPoolExecutor(1) as pool:
        assert pool.submit(block, maps).result().shape == maps.shape
        with pytest.raises(ValueError, match="asked"):
            block(maps)


def test_copies_compute_as_ever() -> None:
    block, maps = Bottleneck(128, 32).to(memory_format=LAST), drawn(4, 128, 32, 32).float()
    with fused(block, refuse):
        copies = copy.deepcopy(block), pickle.loads(pickle.dumps(block))
        for each in copies:
            assert each(maps).shape == maps.shape
        with pytest.raises(ValueError, match="asked"):
            block(maps)
    for each in copies:
        each.act3 = nn.SiLU()
        assert float(each(maps).detach().min()) < 0
        assert each.forward.args[0] is each


def test_a_forward_of_somebody_meanwhile_stays() -> None:
    model = nn.Sequential(Bottleneck(128, 32), Bottleneck(128, 32), Bottleneck(128, 32))
    own = lambda given: given  # noqa: E731
    with training_kernels(model, "bf16", CPU):
        model[0].forward = own
        del model[1].forward
    assert ["forward" in vars(block) for block in model] == [True, False, False]
    assert model[0].forward is own


def test_a_class_that_somebody_has_patched_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Bottleneck.forward
    monkeypatch.setattr(Bottleneck, "forward", lambda self, x: plain(self, x) * 2)
    block = Bottleneck(128, 32)
    with training_kernels(block, "bf16", CPU):
        assert "forward" not in vars(block)


def test_an_error_leaves_nothing_for_the_next_norm() -> None:
    block, norm = Bottleneck(128, 32).to(memory_format=LAST), nn.BatchNorm2d(128)
    with torch.autocast("cpu", torch.bfloat16), training_kernels(block, "bf16", CPU):
        with pytest.raises(ValueError, match="expected 4D input"):  # before batch-norm computes anything
            block(drawn(4, 128, 32, 32)[0])
        assert float(norm(drawn(4, 128, 32, 32)).detach().min()) < 0


def test_sums_in_float32_stay_so() -> None:
    block, maps = CifarBlock(64, 64, 1).to(memory_format=LAST), drawn(4, 64, 32, 32).float()
    with torch.autocast("cpu", torch.bfloat16), training_kernels(block, "bf16", CPU):
        assert block(maps).dtype == torch.float32


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


def test_blocks_are_as_they_were_after_an_error() -> None:
    block = Bottleneck(128, 32)
    with pytest.raises(RuntimeError, match="expected input"), training_kernels(block, "bf16", CPU):
        block(drawn(4, 64, 32, 32).float())
    assert "forward" not in vars(block)
