"""Hardware detection, and the choice of device, precision, memory layout and loader processes."""

from __future__ import annotations

import platform
import re
from collections.abc import Generator, Iterable
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

from zoo.errors import InputError
from zoo.system.precision import Precision
from zoo.system.threads import usable_cores

T = TypeVar("T")

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def pick_device(name: str = "auto", compiled: bool = False) -> torch.device:
    """Return the device to compute on: a torch device, or for "auto" the best available one, which is the CPU for compiled models.

    Raises:
        InputError: the device is unknown or not available.
    """
    if name == "auto":
        current = None if compiled else torch.accelerator.current_accelerator(check_available=True)
        return torch.device("cpu") if current is None else current
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device {name!r} is not available here ({str(error).splitlines()[0]}); try 'auto' or 'cpu'") from error
    return device


def cpu_name() -> str:
    """Return the processor's name."""
    info = Path("/proc/cpuinfo")
    text = info.read_text(encoding="utf-8", errors="replace") if info.is_file() else ""
    found = re.search(r"^model name\s*:(.*)", text, re.MULTILINE)
    return found[1].strip() if found else platform.processor() or platform.machine()


def cpu_capabilities() -> dict[str, object]:
    """Return the instruction sets of the processor by name, as reported by torch."""
    return dict(torch.cpu.get_capabilities())


def cpu_has_bf16() -> bool:
    """Return whether the processor multiplies bf16 in hardware (AMX or AVX512-BF16). Without it, bf16 isn't faster than fp32."""
    capabilities = cpu_capabilities()
    return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))


def cpu_has_matrix_units() -> bool:
    """Return whether the processor supports AMX, which gives the greatest speed-up of 16-bit and 8-bit arithmetic."""
    return bool(cpu_capabilities().get("amx_tile"))


def pick_training_precision(precision: Precision, device: torch.device) -> Precision:
    """Resolve "auto" for training to bf16 if the hardware accelerates it, otherwise to fp32."""
    if precision != "auto":
        return precision
    gains = torch.cuda.is_bf16_supported(including_emulation=False) if device.type == "cuda" else device.type == "cpu" and cpu_has_bf16()
    return "bf16" if gains else "fp32"


def pick_inference_precision(precision: Precision, compiled: str | None = None) -> Precision:
    """Resolve "auto" for inference to fp32, so that scores don't depend on the machine.

    Raises:
        InputError: the requested precision differs from `compiled`, the fixed precision of a compiled model.
    """
    if compiled is not None and precision not in ("auto", compiled):
        raise InputError(f"precision is {precision!r}, but the model is compiled for {compiled}; compile it again, or use 'auto'")
    return "fp32" if precision == "auto" else precision


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """Return a context manager that runs matrix multiplications and convolutions in the given precision."""
    dtype = _DTYPES.get(precision)
    return torch.autocast(device.type, dtype=dtype, enabled=dtype is not None)


def place(model: nn.Module, device: torch.device) -> None:
    """Move a model to a device and convert it to channels-last format, in which convolutions are faster on all processors with AVX2."""
    model.to(device=device)
    model.to(memory_format=torch.channels_last)


def memory_format(model: nn.Module) -> torch.memory_format:
    """Return the format of a model's parameters. Outputs in the two formats differ by rounding errors."""
    plain = all(parameter.is_contiguous() for parameter in model.parameters())
    return torch.contiguous_format if plain else torch.channels_last


def pick_workers(workers: int | None, samples: int) -> int:
    """Return the number of loader processes: the requested one if it isn't None.

    By default, it is 0 for fewer than 500 samples, otherwise half of the cores (1 to 8), so that the other half is left to the network.
    """
    if workers is None:
        return 0 if samples < 500 else min(8, max(1, usable_cores() // 2))
    if workers < 0:
        raise InputError(f"workers is {workers}; expected 0 or more")
    return workers


def pick_decoding_threads() -> int:
    """Return the number of threads that decode and preprocess images while the network computes: 1 on up to three cores, otherwise 2.

    More threads would be idle. Only one image at a time can be decoded (see `zoo.images.stderr`), while another one is preprocessed.
    """
    return min(2, max(1, usable_cores() // 2))


def in_one_thread(batches: Iterable[T]) -> Generator[T]:
    """Yield batches, and limit torch to one thread until after the last batch or until the generator is closed.

    A training step of a small head takes less time than waking a second thread, so one thread is faster. While other programs are running,
    it is many times faster, because threads would then wait for each other.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield from batches
    finally:
        torch.set_num_threads(before)
