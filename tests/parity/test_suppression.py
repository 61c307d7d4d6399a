"""Parity of non-maximum suppression with torchvision's: the same boxes in the same order, with bit-identical IoU."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision.ops import batched_nms as theirs
from torchvision.ops import box_iou

from zoo.tasks.detection.model import proposals as suppression
from zoo.tasks.detection.model.proposals import batched_nms

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("g++") is None, reason="the kernels need Linux and a C++ compiler (g++)"
)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Number of boxes in each call of the kernel."""
    counts: list[int] = []
    kept: Callable[..., Tensor] = suppression._kept

    def noted(kernels: Any, boxes: Tensor, scores: Tensor, threshold: float) -> Tensor:
        counts.append(len(boxes))
        return kept(kernels, boxes, scores, threshold)

    monkeypatch.setattr(suppression, "_kept", noted)
    return counts


def drawn(count: int, groups: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return clustered boxes, distinct scores, and groups."""
    generator = torch.Generator().manual_seed(seed)
    middles = (
        torch.rand(max(1, count // 12), 2, generator=generator)[torch.randint(0, max(1, count // 12), (count,), generator=generator)] * 700
    )
    corners = middles + torch.randn(count, 2, generator=generator) * 9
    sides = torch.exp(torch.randn(count, 2, generator=generator) * 0.4 + 4)
    scores = torch.randperm(count, generator=generator).float() / max(1, count)
    return torch.cat([corners, corners + sides], 1), scores, torch.randint(0, groups, (count,), generator=generator)


@pytest.mark.parametrize("count", [1, 2, 17, 999, 1000, 1001, 4500])
@pytest.mark.parametrize("threshold", [0.3, 0.7])
def test_the_same_boxes_in_the_same_order(asked: list[int], count: int, threshold: float) -> None:
    boxes, scores, groups = drawn(count, 5, count)
    kept = batched_nms(boxes, scores, groups, threshold)
    assert kept.tolist() == theirs(boxes, scores, groups, threshold).tolist()
    assert sum(asked) == count
    assert count < 17 or count / 20 < len(kept) < count


def test_equal_scores_stay_in_order(asked: list[int]) -> None:
    boxes, _, groups = drawn(300, 1, 3)
    scores = torch.linspace(0, 1, 300).round(decimals=1)
    assert batched_nms(boxes, scores, groups, 0.5).tolist() == theirs(boxes, scores, groups, 0.5).tolist()
    assert asked == [300]


@pytest.mark.parametrize("threshold", [0.0, 1 / 3, 0.5, 1.0])
def test_exactly_at_the_threshold(asked: list[int], threshold: float) -> None:
    """IoUs that equal the threshold in float32, or differ from it in the last bit."""
    boxes, scores, groups = drawn(900, 1, 5)
    boxes = boxes.round()  # with many equal ratios
    assert batched_nms(boxes, scores, groups, threshold).tolist() == theirs(boxes, scores, groups, threshold).tolist()
    pair, two = torch.tensor([[0.0, 0, 3, 1], [1, 0, 4, 1]]), torch.tensor([0.9, 0.8])  # 2 of 4
    for limit in (0.5, float(Fraction(1, 2) - Fraction(1, 2**40)), 0.5 + 2**-40):
        assert (
            batched_nms(pair, two, torch.zeros(2, dtype=torch.int64), limit).tolist() == theirs(pair, two, torch.zeros(2), limit).tolist()
        )


def test_products_are_rounded_before_they_are_subtracted(asked: list[int]) -> None:
    """Pairs of boxes with their own IoU as the threshold: an IoU larger by one bit would suppress one of them."""
    generator, two, group = torch.Generator().manual_seed(9), torch.tensor([0.9, 0.8]), torch.zeros(2, dtype=torch.int64)
    kept = []
    for _ in range(1500):
        corners, sides = torch.rand(2, 2, generator=generator) * 20, torch.rand(2, 2, generator=generator) * 40 + 20
        pair = torch.cat([corners, corners + sides], 1)
        limit = float(box_iou(pair, pair)[0, 1])
        found = batched_nms(pair, two, group, limit).tolist()
        assert found == theirs(pair, two, group, limit).tolist()
        kept.append(len(found))
    assert kept.count(2) > 1000


def test_boxes_of_no_area_and_no_numbers(asked: list[int]) -> None:
    boxes, scores, groups = drawn(1200, 2, 7)
    boxes[::3, 2:] = boxes[::3, :2]
    boxes[5], boxes[11, 2], boxes[12, 0] = float("nan"), float("inf"), float("-inf")
    assert batched_nms(boxes, scores, groups, 0.5).tolist() == theirs(boxes, scores, groups, 0.5).tolist()
    assert asked


@pytest.mark.parametrize("count", [0, 5])
def test_elsewhere_it_is_torchvisions(asked: list[int], monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    boxes, scores, groups = drawn(count, 2, 1)
    expected = theirs(boxes, scores, groups, 0.5).tolist()
    assert batched_nms(boxes, scores, groups, 0.5).tolist() == expected
    asked.clear()
    monkeypatch.setattr(suppression, "library", lambda name: None)
    assert batched_nms(boxes, scores, groups, 0.5).tolist() == expected
    assert batched_nms(boxes.double(), scores.double(), groups, 0.5).tolist() == expected
    assert not asked


def test_what_does_not_fit_is_refused_by_torchvision(asked: list[int]) -> None:
    boxes, scores, groups = drawn(20, 2, 1)
    for given in ((boxes[:, :3], scores, groups), (boxes, scores[:19], groups[:19])):
        with pytest.raises((RuntimeError, IndexError)):
            batched_nms(*given, 0.5)
    assert not asked


@pytest.mark.filterwarnings("ignore")  # tracing is deprecated and warns at every line
def test_an_exported_graph_has_torchvisions_operator(asked: list[int]) -> None:
    class Suppress(torch.nn.Module):
        def forward(self, boxes: Tensor, scores: Tensor, groups: Tensor) -> Tensor:
            return batched_nms(boxes, scores, groups, 0.5)

    traced: Any = torch.jit.trace(Suppress(), drawn(300, 3, 1), check_trace=False)  # type: ignore[no-untyped-call]
    assert not asked
    others = drawn(300, 3, 2)
    assert traced(*others).tolist() == theirs(*others, 0.5).tolist()
    assert "nms" in str(torch.export.export(Suppress(), drawn(300, 3, 1)).graph)
