"""Parity of RoI align as a sum of rows with torchvision's operator: values and gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from torchvision.ops import MultiScaleRoIAlign, roi_align
from torchvision.ops.poolers import initLevelMapper

from zoo.kernels.library import library
from zoo.tasks.detection.model.roi_align import PyramidRoIAlign, pool


@pytest.fixture(params=["kernel", "torch"])
def by(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Implementation under test; buffers of any size are kept for reuse."""
    monkeypatch.setattr("zoo.system.memory._LEAST", 1)
    if request.param == "torch":
        monkeypatch.setattr("zoo.tasks.detection.model.roi_align.library", lambda name: None)
    elif library("roi_align") is None:
        pytest.skip("the kernels need Linux and a C++ compiler (g++)")
    return str(request.param)


def random_boxes(count: int, height: int, width: int, seed: int) -> Tensor:
    """Return boxes of all sizes, some outside the image, one without area and one much larger than the image."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.rand(count, 2, generator=generator) * torch.tensor([width, height])
    sides = torch.exp(torch.rand(count, 2, generator=generator) * 6)
    boxes = torch.cat((centres - sides / 2, centres + sides / 2), 1)
    extremes = torch.tensor(
        [[5.0, 6, 5, 6], [-300, -300, 2 * width, 2 * height], [0, 0, width, height], [width, height, width + 9, height + 9]]
    )
    return torch.cat((boxes, extremes))


@pytest.mark.parametrize(("cells", "ratio"), [(7, 2), (3, 1), (5, 4)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_one_map_is_pooled_as_by_torchvision(cells: int, ratio: int, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    maps = torch.randn(2, 6, 25, 34, dtype=dtype, requires_grad=True)
    boxes = [random_boxes(20, 200, 272, seed).to(dtype) for seed in (0, 1)]
    expected = roi_align(maps, boxes, cells, 1 / 8, ratio)
    gradient = torch.randn_like(expected)
    (expected_gradient,) = torch.autograd.grad(expected, maps, gradient)
    level_of = torch.zeros(len(expected), dtype=torch.int64)
    found = pool([maps], boxes, [1 / 8], level_of, cells, ratio)
    (found_gradient,) = torch.autograd.grad(found, maps, gradient)
    tolerance = 1e-5 if dtype == torch.float32 else 1e-6  # torch.tensor(scales) is float32
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(found_gradient, expected_gradient, rtol=tolerance, atol=tolerance)
    assert float(expected.detach().abs().max()) > 0.5


def pyramids() -> tuple[MultiScaleRoIAlign, PyramidRoIAlign]:
    """Return torchvision's pooling and ours, for levels of stride 4, 8 and 16."""
    both = (MultiScaleRoIAlign(["a", "b", "c"], 7, 2), PyramidRoIAlign(["a", "b", "c"], 7, 2))
    for each in both:
        each.scales, each.map_levels = [1 / 4, 1 / 8, 1 / 16], initLevelMapper(2, 4)
    return both


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("counts", "channels"), [((30, 5), 16), ((0, 8), 16), ((7, 3), 70)])
def test_a_pyramid_is_pooled_as_by_torchvision(by: str, memory: torch.memory_format, counts: tuple[int, int], channels: int) -> None:
    torch.manual_seed(1)
    sides = {"a": (48, 64), "b": (24, 32), "c": (12, 16), "unused": (6, 8)}
    maps = {name: torch.randn(2, channels, *size).to(memory_format=memory).requires_grad_() for name, size in sides.items()}
    boxes = [random_boxes(count, 192, 256, seed)[:count] for seed, count in enumerate(counts)]
    pooled, gradients = [], []
    direction = torch.randn(sum(counts), channels, 7, 7)
    for each in pyramids():
        pooled.append(each(maps, boxes, [(192, 256)] * 2))
        gradients.append(torch.autograd.grad(pooled[-1], [maps[name] for name in "abc"], direction))
    torch.testing.assert_close(pooled[1], pooled[0], rtol=1e-5, atol=1e-5)
    for ours, theirs in zip(gradients[1], gradients[0], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    assert pooled[1].shape == direction.shape


def test_gradients_are_the_same_for_any_number_of_threads() -> None:
    maps = torch.randn(1, 40, 30, 30, requires_grad=True)
    boxes = [random_boxes(60, 240, 240, 0)]
    level_of, threads, found = torch.zeros(len(boxes[0]), dtype=torch.int64), torch.get_num_threads(), []
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            (gradient,) = torch.autograd.grad(pool([maps], boxes, [1 / 8], level_of, 7, 2).square().sum(), maps)
            found.append(gradient)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(*found)


def test_what_watches_functions_sees_torchs() -> None:
    """Checkpointing compares the tensors saved for backward, and torch.func must differentiate through the function."""
    maps = torch.randn(1, 6, 20, 20, requires_grad=True)
    boxes = [random_boxes(9, 160, 160, 0)]
    level_of = torch.zeros(len(boxes[0]), dtype=torch.int64)

    def loss(given: Tensor) -> Tensor:
        return pool([given], boxes, [1 / 8], level_of, 7, 2).square().sum()

    (expected,) = torch.autograd.grad(loss(maps), maps)
    torch.testing.assert_close(torch.func.grad(loss)(maps.detach()), expected, rtol=1e-4, atol=1e-4)
    (again,) = torch.autograd.grad(checkpoint(loss, maps, use_reentrant=False), maps)
    torch.testing.assert_close(again, expected, rtol=1e-4, atol=1e-4)


def test_no_box_at_all_is_pooled_to_nothing() -> None:
    maps = {name: torch.randn(2, 4, 8, 8, requires_grad=True) for name in "abc"}
    pooled = pyramids()[1](maps, [torch.zeros(0, 4)] * 2, [(32, 32)] * 2)
    assert pooled.shape == (0, 4, 7, 7)
    pooled.sum().backward()
    assert all(not level.grad.any() for level in maps.values() if level.grad is not None)


def test_memory_that_is_kept_between_calls_makes_no_difference(by: str) -> None:
    """Larger and smaller maps in turn, in every autograd mode; earlier outputs are not overwritten."""
    theirs, ours = pyramids()
    answers = []
    for mode, side in (
        (torch.inference_mode, 32),
        (torch.no_grad, 64),
        (torch.enable_grad, 16),
        (torch.inference_mode, 16),
        (torch.no_grad, 32),
    ):
        torch.manual_seed(side)
        maps = {name: torch.randn(2, 6, side // scale, side // scale) for name, scale in (("a", 1), ("b", 2), ("c", 4))}
        boxes = [random_boxes(9, 4 * side, 4 * side, seed) for seed in (0, 1)]
        with mode():
            answers.append((ours(maps, boxes, [(4 * side, 4 * side)] * 2), theirs(maps, boxes, [(4 * side, 4 * side)] * 2)))
    for found, expected in answers:
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("channels", [6, 64, 70])
@pytest.mark.parametrize("types", [(torch.float32, torch.float32), (torch.float32, torch.float64), (torch.float64, torch.float32)])
def test_without_gradients_it_is_torchvisions_too(by: str, channels: int, types: tuple[torch.dtype, torch.dtype]) -> None:
    """Also for maps and boxes of different dtypes, which torchvision doesn't accept."""
    theirs, ours = pyramids()
    torch.manual_seed(3)
    maps = {name: torch.randn(2, channels, 64 // scale, 48 // scale) for name, scale in (("a", 1), ("b", 2), ("c", 4))}
    boxes = [random_boxes(9, 256, 192, seed) for seed in (0, 1)]
    expected = theirs(maps, boxes, [(256, 192)] * 2)
    with torch.no_grad():
        found = ours({name: each.to(types[0]) for name, each in maps.items()}, [each.to(types[1]) for each in boxes], [(256, 192)] * 2)
    torch.testing.assert_close(found.float(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), float("-inf"), 1e30])
def test_boxes_that_are_no_numbers_touch_no_other(by: str, wrong: float) -> None:
    maps, boxes = torch.randn(1, 8, 20, 20), random_boxes(6, 160, 160, 0)
    level_of, right = torch.zeros(len(boxes), dtype=torch.int64), boxes.clone()
    boxes[2], boxes[4, 0] = wrong, wrong
    with torch.no_grad():
        found, expected = (pool([maps], [each], [1 / 8], level_of, 7, 2) for each in (boxes, right))
    others = [place for place in range(len(boxes)) if place not in (2, 4)]
    assert torch.equal(found[others], expected[others])


@pytest.mark.filterwarnings("ignore")  # tracing is deprecated and warns at every line
def test_an_exported_graph_has_torchvisions_operator() -> None:
    class Pool(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pool = pyramids()[1]

        def forward(self, maps: Tensor, boxes: Tensor) -> Tensor:
            pooled: Tensor = self.pool({"a": maps, "b": maps, "c": maps}, [boxes], [(64, 64)])
            return pooled

    traced: torch.jit.ScriptModule = torch.jit.trace(  # type: ignore[no-untyped-call]
        Pool(), (torch.randn(1, 2, 16, 16), random_boxes(3, 64, 64, 0)), check_trace=False
    )
    graph = str(traced.inlined_graph)
    assert "torchvision::roi_align" in graph
    assert "embedding_bag" not in graph
