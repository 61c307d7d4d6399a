"""Peak rate of the processor: that of one large matrix multiplication, by precision."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch

from zoo.benchmarks.harness.timing import seconds_of
from zoo.system.hardware import cpu_has_bf16

_SIDE = 2048
_RUNS = 5


def peaks(side: int = _SIDE) -> dict[str, float | None]:
    """Measure multiplications and additions per second in fp32, bf16 and int8; None for what can't be measured.

    bf16 is measured if the processor has bf16 instructions, int8 as torch's quantised linear layer if torch has oneDNN's kernels.
    """
    square = torch.rand(side, side)
    half = square.bfloat16()
    return {
        "fp32": _rate(lambda: square @ square, side),
        "bf16": _rate(lambda: half @ half, side) if cpu_has_bf16() else None,
        "int8": _int8(square),
    }


def bf16_gain(side: int = _SIDE) -> float | None:
    """Measure the speed-up of matrix multiplication in bf16 over float32; None if the processor has no bf16 instructions."""
    if not cpu_has_bf16():
        return None
    square = torch.rand(side, side)
    half = square.bfloat16()
    return _rate(lambda: half @ half, side) / _rate(lambda: square @ square, side)


def _int8(square: torch.Tensor) -> float | None:
    engines, before = torch.backends.quantized.supported_engines, torch.backends.quantized.engine
    if "onednn" not in engines:
        return None
    try:
        torch.backends.quantized.engine = "onednn"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch deprecates quantised tensors
            layer = torch.ao.nn.quantized.Linear(len(square), len(square))  # type: ignore[no-untyped-call]
            quantised = torch.quantize_per_tensor(square, 1 / 255, 0, torch.quint8)
            return _rate(lambda: layer(quantised), len(square))
    finally:
        torch.backends.quantized.engine = before


def _rate(multiply: Callable[[], object], side: int) -> float:
    """Return the rate of the fastest of several runs, the one that was disturbed least."""
    multiply()
    return 2 * side**3 / min(seconds_of(multiply) for _ in range(_RUNS))
