"""The number of threads to compute with: as many as there are cores that other programs leave free.

The work of a layer is divided evenly among the threads, so it takes as long as the slowest of them. If another program occupies one of two
cores, two threads wait for each other in every layer, and one thread is many times faster.

Torch is imported only when it is needed, because the processes that check datasets start without it.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import psutil

_PERIOD_S = 0.25  # the kernel counts processor time in steps of 10 ms
_UNNOTICED = 0.3  # cores that other programs may use without costing a thread
_CGROUPS = Path("/sys/fs/cgroup")
_SPINS = "10000"  # less than a millisecond, but longer than the time between two layers
_WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
_FIXED = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


@cache
def usable_cores() -> int:
    """Return the number of cores that this process may use: its affinity, limited by the quota of its control groups."""
    quota = _quota(Path("/proc/self/cgroup"), _CGROUPS)
    return len(_affinity()) if quota is None else max(1, min(len(_affinity()), int(quota)))


def _affinity() -> list[int]:
    process = psutil.Process()
    return process.cpu_affinity() if hasattr(process, "cpu_affinity") else list(range(psutil.cpu_count() or 1))


def _quota(membership: Path, root: Path) -> float | None:
    """Return the smallest quota, in cores, of a process's control groups (versions 1 and 2); None if there is none.

    Args:
        membership: the process's /proc/PID/cgroup.
        root: where the control groups are mounted.
    """
    quotas = []
    with contextlib.suppress(OSError):
        for line in membership.read_text().splitlines():
            _, controllers, group = line.split(":", 2)
            if controllers and "cpu" not in controllers.split(","):
                continue
            folder = root / controllers / group.lstrip("/")  # a container sees its own group at the root
            for place in (folder, *folder.parents):
                if place == root.parent:
                    break
                quotas += _read_quota(place)
    return min(quotas, default=None)


def _read_quota(group: Path) -> list[float]:
    with contextlib.suppress(OSError, ValueError):
        if (group / "cpu.max").exists():
            limit, period = (group / "cpu.max").read_text().split()
        else:
            limit, period = ((group / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        if limit != "max" and int(limit) > 0:
            return [int(limit) / int(period)]
    return []


def wait_briefly() -> None:
    """Let OpenMP's threads wait for each other in a loop only briefly before they sleep, unless the user has chosen how they wait.

    Call it before torch is imported. By default, GNU's OpenMP loops for milliseconds, which takes the core from the thread that is waited
    for if other programs compute as well. Without the loop (`OMP_WAIT_POLICY=passive`), a ResNet-18 took 1.4 times as long on a quiet
    machine. Child processes inherit the setting.
    """
    if not any(name in os.environ for name in _WAITING):
        os.environ["GOMP_SPINCOUNT"] = _SPINS


class Threads:
    """Torch's number of threads, which follows the load of the machine unless the user has chosen it.

    The user chooses it with OMP_NUM_THREADS, or by calling `torch.set_num_threads`.
    """

    def __init__(self) -> None:
        """Begin to measure the load."""
        self._cores = _affinity()
        self._count: int | None = None  # the number that was set last, or torch's default
        self._fixed = any(name in os.environ for name in _FIXED)
        self._measured = self._times()

    def _times(self) -> tuple[float, float]:
        """Return the time, and the processor time in seconds that all programs but this one have used on the cores of this process."""
        every = psutil.cpu_times(percpu=True)
        used = sum(each.user + each.system + getattr(each, "nice", 0.0) for core, each in enumerate(every) if core in self._cores)
        own = os.times()
        return time.monotonic(), used - own.user - own.system

    def adapt(self) -> int:
        """Set torch's number of threads to the number of free cores, and return it. The load is measured at most four times per second."""
        now = self._now()
        if self._chosen(now) or time.monotonic() - self._measured[0] < _PERIOD_S:
            return now
        before, self._measured = self._measured, self._times()
        others = (self._measured[1] - before[1]) / (self._measured[0] - before[0])
        free = int(len(self._cores) - max(0.0, others) + _UNNOTICED)
        return self._set(max(1, min(free, usable_cores())))

    @contextlib.contextmanager
    def held(self, count: int | None = None) -> Iterator[None]:
        """Return a context with a constant number of threads: `count`, or the present number if `count` is None or the user has chosen."""
        before, fixed = self._now(), self._fixed
        if count is not None and not self._chosen(before):
            self._set(count)
        self._fixed = True
        try:
            yield
        finally:
            self._fixed, self._measured = fixed, self._times()
            self._set(before)

    def _chosen(self, now: int) -> bool:
        """Return whether the user has chosen the number of threads, which is `now`."""
        return self._fixed or now != self._count

    def _now(self) -> int:
        import torch

        count = torch.get_num_threads()
        self._count = count if self._count is None else self._count
        return count

    def _set(self, count: int) -> int:
        import torch

        if count != torch.get_num_threads():
            torch.set_num_threads(count)
        self._count = torch.get_num_threads()
        return self._count


THREADS = Threads()
