"""Which shapes OpenVINO gets a graph of their own for."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from zoo.engines import ENGINES, Network

pytest.importorskip("openvino", reason="needs the extra [openvino], which is not installed")


class Doubled(nn.Module):
    def forward(self, rows: Tensor) -> tuple[Tensor, ...]:
        return (rows * 2 + 1,)


@pytest.fixture(scope="module")
def converted() -> object:
    engine = ENGINES["openvino"]()
    return engine.convert(Network("rows", Doubled(), (torch.zeros(2, 4),), ((0,),)))


def called(converted: object, lengths: list[int]) -> list[tuple[int, ...]]:
    """Call with rows of these numbers, and return the shapes that have a graph of their own in the end, the latest last."""
    runner = ENGINES["openvino"]().start(converted, "fp32", 1)
    for length in lengths:
        rows = torch.arange(4.0 * length).view(length, 4)
        (found,) = runner(rows)
        assert torch.equal(found, rows * 2 + 1)
    return [shapes[0] for shapes in runner._own]  # type: ignore[attr-defined]


def test_a_shape_that_comes_three_times_in_a_row_gets_one(converted: object) -> None:
    assert called(converted, [3, 3]) == []
    assert called(converted, [3, 3, 3, 5, 3]) == [(3, 4)]


def test_shapes_that_change_from_call_to_call_get_none(converted: object) -> None:
    assert called(converted, [1, 2, 3] * 20) == []


def test_at_most_four_are_kept_the_latest_used(converted: object) -> None:
    lengths = [length for number in (1, 2, 3, 4) for length in [number] * 3]
    assert called(converted, [*lengths, 1, 5, 5, 5]) == [(3, 4), (4, 4), (1, 4), (5, 4)]


def test_a_network_of_one_shape_needs_none() -> None:
    engine = ENGINES["openvino"]()
    runner = engine.start(engine.convert(Network("rows", Doubled(), (torch.zeros(2, 4),), ((),))), "fp32", 1)
    for _ in range(4):
        runner(torch.zeros(2, 4))
    assert not runner._own  # type: ignore[attr-defined]
