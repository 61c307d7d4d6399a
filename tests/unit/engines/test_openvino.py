"""The engine openvino: PReLUs that OpenVINO's converter splits up, channels-last inputs and outputs, and uint8 images."""

from __future__ import annotations

import gc
from collections import Counter

import pytest
import torch
from torch import Tensor, nn

from zoo.engines import ENGINES, Network
from zoo.images.preprocess import as_float

pytest.importorskip("openvino")


class _Answer(nn.Module):
    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, pixels: Tensor) -> tuple[Tensor]:
        return (self.layers(pixels),)


class _Choice(nn.Module):
    """Almost PReLUs: another limit, a computed slope, slopes along the rows, a comparison of another value."""

    slopes: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("slopes", torch.linspace(-1, 1, 14))

    def forward(self, pixels: Tensor) -> Tensor:
        pixels = torch.where(pixels > 0.5, pixels, pixels * 0.1)
        pixels = torch.where(pixels > 0, pixels, pixels * pixels.mean())
        pixels = torch.where(pixels > 0, pixels, pixels * self.slopes)
        return torch.where(pixels + 1 > 0, pixels, pixels * 0.3)


def operations(module: nn.Module) -> tuple[Counter[str], float]:
    """Convert a network for inputs [B, 3, 16, 16]; return the counts of its operations, and its largest error compared with eager."""
    engine, pixels = ENGINES["openvino"](), torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    module = module.eval().requires_grad_(False)
    converted = engine.convert(Network("pictures", module, (pixels[:2],), ((0,),)))
    (got,), (wanted,) = engine.start(converted, "fp32", 1)(pixels), module(pixels)
    return Counter(each.get_type_name() for each in converted.get_ops()), float((got - wanted).abs().max())


def test_a_prelu_is_one_operation_and_answers_as_in_eager() -> None:
    many, one = nn.PReLU(8), nn.PReLU()
    with torch.no_grad():
        many.weight.copy_(torch.linspace(-0.5, 1.5, 8))
    found, error = operations(_Answer(nn.Conv2d(3, 8, 3), many, nn.Conv2d(8, 4, 3), one))
    assert (found["PRelu"], found["Select"]) == (2, 0)
    assert error < 1e-5


def test_what_only_looks_like_a_prelu_stays_as_it_is() -> None:
    found, error = operations(_Answer(nn.Conv2d(3, 14, 3), _Choice()))
    assert (found["PRelu"], found["Select"]) == (0, 4)
    assert error < 1e-5


class _Levels(nn.Module):
    """Maps images to a feature map and an output with few channels."""

    def __init__(self) -> None:
        super().__init__()
        self.wide, self.narrow = nn.Conv2d(3, 8, 3, 2), nn.Conv2d(8, 3, 1)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        found = self.wide(pixels)
        return found, self.narrow(found)


class _Pooled(nn.Module):
    """Maps pooled features [B, 8, 7, 7] to [B, 5], which depends on the order of the features."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(8 * 7 * 7, 5)

    def forward(self, pooled: Tensor) -> tuple[Tensor]:
        return (self.fc(pooled.flatten(1)),)


def test_maps_of_features_are_handed_over_channels_last() -> None:
    engine, pixels = ENGINES["openvino"](), torch.randn(2, 3, 17, 19, generator=torch.Generator().manual_seed(0))
    module = _Levels().eval().requires_grad_(False)
    converted = engine.convert(Network("pictures", module, (pixels,), ((0, 2, 3),)))
    for given in (pixels, pixels.contiguous(memory_format=torch.channels_last), pixels[:1, :, :9]):
        found, wanted = engine.start(converted, "fp32", 1)(given), module(given)
        assert [tuple(each.shape) for each in found] == [tuple(each.shape) for each in wanted]
        assert all((got - want).abs().max() < 1e-5 for got, want in zip(found, wanted, strict=True))
        assert found[0].is_contiguous(memory_format=torch.channels_last)
        assert found[1].is_contiguous()
    kept = [each.get_partial_shape()[1] for each in converted.outputs]  # the converted network, which is saved, is unchanged
    assert [axis.get_length() for axis in kept] == [8, 3]


def test_a_network_that_stays_in_memory_owns_its_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """The graph may share memory with the traced network, which no longer exists when the graph runs."""
    engine, pixels = ENGINES["openvino"](), torch.randn(2, 3, 17, 19, generator=torch.Generator().manual_seed(0))
    module = _Levels().eval().requires_grad_(False)
    wanted = [each.clone() for each in module(pixels)]
    monkeypatch.setattr("zoo.engines.openvino.tempfile", None)  # no temporary file
    converted = engine.convert(Network("pictures", module, (pixels,), ((0, 2, 3),), in_memory=True))
    del module
    gc.collect()
    junk = [torch.full((size,), 7.0) for size in range(1, 3000, 7)]
    found = engine.start(converted, "fp32", 1)(pixels)
    assert all((got - want).abs().max() < 1e-5 for got, want in zip(found, wanted, strict=True))
    assert len(junk) > 400, "the memory of the module is used for something else"


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_what_was_pooled_may_be_channels_last(layout: torch.memory_format) -> None:
    engine, pooled = ENGINES["openvino"](), torch.randn(6, 8, 7, 7, generator=torch.Generator().manual_seed(0))
    module = _Pooled().eval().requires_grad_(False)
    converted = engine.convert(Network("boxes", module, (pooled,), ((0,),)))
    (found,) = engine.start(converted, "fp32", 1)(pooled.contiguous(memory_format=layout))
    assert (found - module(pooled)[0]).abs().max() < 1e-5


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_pictures_of_bytes_become_floats_in_the_graph(layout: torch.memory_format) -> None:
    engine, generator = ENGINES["openvino"](), torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (2, 3, 17, 19), generator=generator, dtype=torch.uint8)
    module = _Levels().eval().requires_grad_(False)
    run = engine.start(engine.convert(Network("pictures", module, (as_float(pixels),), ((0, 2, 3),))), "fp32", 1)
    for given in (pixels.contiguous(memory_format=layout), pixels[:1, :, :9]):
        wanted = module(as_float(given))
        for found in (run(given), run(as_float(given))):  # in alternation: each dtype has a graph
            assert all((got - want).abs().max() < 1e-5 for got, want in zip(found, wanted, strict=True))


def test_threads_are_not_bound_to_cores() -> None:
    from zoo.engines.openvino import Session

    converted = ENGINES["openvino"]().convert(Network("pictures", _Levels().eval(), (torch.zeros(2, 3, 17, 19),), ((0, 2, 3),)))
    session = Session(converted, "fp32", 1, (False,))
    assert session.compiled.get_property("ENABLE_CPU_PINNING") is False
