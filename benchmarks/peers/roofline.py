"""What the processor can do at most: the rate of one large matrix multiplication, by precision."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable

import torch

from zoo.system.hardware import cpu_has_bf16

_SIDE = 2048
_RUNS = 5


def peaks(side: int = _SIDE) -> dict[str, float | None]:
    """Measure multiplications and additions per second in fp32, bf16 and int8; None for what isn't measured here.

    bf16 is measured where the processor has it, int8 as torch's quantised linear layer, with oneDNN's kernels where torch has them.

    Args:
        side: of the square matrices.
    """
    square = torch.rand(side, side)
    half = square.bfloat16()
    return {
        "fp32": _rate(lambda: square @ square, side),
        "bf16": _rate(lambda: half @ half, side) if cpu_has_bf16() else None,
        "int8": _int8(square),
    }


def bf16_gain(side: int = _SIDE) -> float | None:
    """Measure how many times as fast as in float32 a matrix product is in bf16; None where the processor doesn't have it."""
    found = None
    if cpu_has_bf16():
        square = torch.rand(side, side)
        half = square.bfloat16()
        found = _rate(lambda: half @ half, side) / _rate(lambda: square @ square, side)
    return found


def _int8(square: torch.Tensor) -> float | None:
    engines, before = torch.backends.quantized.supported_engines, torch.backends.quantized.engine
    if "onednn" not in engines:
        return None
    try:
        torch.backends.quantized.engine = "onednn"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch means to drop these tensors
            layer = torch.ao.nn.quantized.Linear(len(square), len(square))  # type: ignore[no-untyped-call]
            quantised = torch.quantize_per_tensor(square, 1 / 255, 0, torch.quint8)
            return _rate(lambda: layer(quantised), len(square))
    finally:
        torch.backends.quantized.engine = before


def _rate(multiply: Callable[[], object], side: int) -> float:
    """Return the best of some runs: a peak is what nothing disturbs."""
    multiply()
    seconds = []
    for _ in range(_RUNS):
        start = time.perf_counter()
        multiply()
        seconds.append(time.perf_counter() - start)
    return 2 * side**3 / min(seconds)
