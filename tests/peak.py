"""Peak resident memory of a process. Imports nothing heavy, so that a process that only measures starts quickly."""

from __future__ import annotations

import os
import resource
import sys
from contextlib import suppress
from pathlib import Path


def reset_peak_mib() -> float:
    """Reset the peak resident memory of the process, if the system supports it, and return the new peak in MiB."""
    with suppress(OSError):  # supported on Linux only
        Path("/proc/self/clear_refs").write_text("5")
    return peak_mib()


def peak_mib() -> float:
    """Return the peak resident memory of the process in MiB, including that of libraries, which tracemalloc doesn't track."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / 2**20 if sys.platform == "darwin" else peak / 2**10  # bytes on macOS, KiB elsewhere
    return int(status.partition("VmHWM:")[2].split()[0]) / 2**10


def hold_and_release() -> None:
    """Allocate 100 MiB, release them, and check that the peak reflects both."""
    before = reset_peak_mib()
    held = bytearray(os.urandom(1)) * (100 * 2**20)
    assert 90 < peak_mib() - before < 200
    del held
    assert reset_peak_mib() < before + 50
