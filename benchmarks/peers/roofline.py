"""Peak performance of the processor, measured with large matrix multiplications in several precisions."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch

from zoo.benchmarks.harness.timing import seconds_of
from zoo.system.hardware import cpu_has_bf16

_SIDE = 2048
_RUNS = 5


def peaks(side: int = _SIDE) -> dict[str, float | None]:
    """Measure the peak number of multiplications and additions per second in fp32, bf16 and int8.

    bf16 is None if the processor doesn't support bf16. int8 is measured with torch's quantised linear layer; it is None if torch has no
    oneDNN kernels.
    """
    square = torch.rand(side, side)
    half = square.bfloat16()
    return {
        "fp32": _rate(lambda: square @ square, side),
        "bf16": _rate(lambda: half @ half, side) if cpu_has_bf16() else None,
        "int8": _int8(square),
    }


def bf16_gain(side: int = _SIDE) -> float | None:
    """Measure the speed-up of matrix multiplication in bf16 over float32; None if the processor doesn't support bf16."""
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
    """Return the operations per second of the fastest of several runs, which was disturbed least by other processes."""
    multiply()
    return 2 * side**3 / min(seconds_of(multiply) for _ in range(_RUNS))
