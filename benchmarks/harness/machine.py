"""Description of the machine on which a benchmark runs, and the peak memory of the process."""

from __future__ import annotations

import importlib.metadata
import platform
import sys
from pathlib import Path
from typing import Any

import psutil
import torch

from zoo.system.hardware import cpu_name

_MIB = 2**20
_PACKAGES = ("resnet-zoo", "torch", "torchvision", "timm", "numpy")


def describe_machine() -> dict[str, Any]:
    """Return a description of the hardware and software as JSON values."""
    return {
        "cpu": cpu_name(),
        "cores": _cores(),  # logical cores available to this process
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


def _cores() -> int:
    affinity = getattr(psutil.Process(), "cpu_affinity", None)  # macOS has none
    return len(affinity()) if affinity is not None else psutil.cpu_count() or 1


def _accelerator() -> str | None:
    device = torch.accelerator.current_accelerator(check_available=True)
    if device is None:
        return None
    return torch.cuda.get_device_name() if device.type == "cuda" else device.type
