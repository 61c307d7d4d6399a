"""Durations of calls, peak memory of the process, peak performance of the processor, and the description of the machine."""

from __future__ import annotations

import importlib.metadata
import platform
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch

from zoo.benchmarks.harness.command import timed
from zoo.benchmarks.harness.report import Timing
from zoo.errors import check_positive
from zoo.system.hardware import cpu_has_bf16, cpu_name

_MIB = 2**20
_SIDE, _RUNS = 2048, 5  # size of the matrices multiplied to measure the peak performance, and number of runs
_BLOCK_S = 0.1  # seconds: calls are compared in blocks that last at least this long
_PACKAGES = ("resnet-zoo", "torch", "torchvision", "timm", "numpy")


def measure(
    call: Callable[[int], object],
    *,
    budget_s: float,
    warmup: int = 5,
    min_runs: int = 10,
    clock: Callable[[], float] = time.perf_counter,
) -> Timing:
    """Time a function repeatedly until the timed calls have taken `budget_s` seconds, and at least `min_runs` times.

    The first `warmup` calls are not timed, because they include allocations, kernel selection and cold caches. The median is reported
    because a single interruption can distort the mean. `call` receives the index of the call, so that it can cycle through prepared inputs.
    It must return only when its work is completed.
    """
    check_positive("timing", budget_s=budget_s, min_runs=min_runs)
    for number in range(warmup):
        call(number)
    durations: list[float] = []
    total = 0.0
    while total < budget_s or len(durations) < min_runs:
        start = clock()
        call(warmup + len(durations))
        durations.append(clock() - start)
        total += durations[-1]
    median, p95 = 1000 * np.percentile(durations, (50, 95))
    return Timing(float(median), float(p95), len(durations), _blocks_ms(durations))


def _blocks_ms(durations: Sequence[float]) -> tuple[float, ...]:
    """Return the median duration in milliseconds of each block of consecutive calls. An unfinished last block is dropped.

    Neighbouring calls are disturbed together, so that single calls aren't independent observations.
    """
    blocks: list[list[float]] = [[]]
    for duration in durations:
        if sum(blocks[-1]) >= _BLOCK_S:
            blocks.append([])
        blocks[-1].append(duration)
    if len(blocks) > 1 and sum(blocks[-1]) < _BLOCK_S:
        blocks.pop()
    return tuple(1000 * statistics.median(block) for block in blocks)


def describe_machine() -> dict[str, Any]:
    """Return a description of the hardware and software as JSON values."""
    return {
        "cpu": cpu_name(),
        # logical cores available to this process; macOS has no affinity
        "cores": len(psutil.Process().cpu_affinity()) if hasattr(psutil.Process, "cpu_affinity") else psutil.cpu_count() or 1,
        "memory_mib": psutil.virtual_memory().total // _MIB,
        "accelerator": _accelerator(),
        "threads": torch.get_num_threads(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in _PACKAGES},
    }


def peak_memory_mib() -> float:
    """Return the peak resident memory of this process in MiB, excluding its children.

    On Linux, it is VmHWM rather than ru_maxrss of `getrusage`. ru_maxrss is inherited across fork and exec, so that a child of a large
    process would report the size of its parent.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        line = next(line for line in status.read_text(encoding="ascii", errors="replace").splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) / 1024
    if sys.platform == "win32":
        return float(psutil.Process().memory_info().peak_wset) / _MIB
    import resource  # not available on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / _MIB  # bytes on macOS


def _accelerator() -> str | None:
    device = torch.accelerator.current_accelerator(check_available=True)
    if device is None:
        return None
    return torch.cuda.get_device_name() if device.type == "cuda" else device.type


def peaks(side: int = _SIDE) -> dict[str, float | None]:
    """Measure the peak number of multiplications and additions per second in fp32, bf16 and int8, with large matrix multiplications.

    bf16 is None if the processor doesn't support bf16. int8 is measured with torch's quantised linear layer; it is None if torch has no
    oneDNN kernels.
    """
    square = torch.rand(side, side)
    half = square.bfloat16()
    return {
        "fp32": _rate(lambda: square @ square, side),
        "bf16": _rate(lambda: half @ half, side) if cpu_has_bf16() else None,
        "int8": _int8_rate(square),
    }


def bf16_gain() -> float | None:
    """Measure the speed-up of matrix multiplication in bf16 over float32; None if the processor doesn't support bf16."""
    if not cpu_has_bf16():
        return None
    square = torch.rand(_SIDE, _SIDE)
    half = square.bfloat16()
    return _rate(lambda: half @ half, _SIDE) / _rate(lambda: square @ square, _SIDE)


def _int8_rate(square: torch.Tensor) -> float | None:
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
    return 2 * side**3 / min(timed(multiply)[1] for _ in range(_RUNS))
