"""Limits of the process of a benchmark case: it is killed when it exceeds its time or memory limit, and ends with its parent."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import psutil

from zoo.errors import InputError

_POLL_S = 0.25  # seconds between two readings of the memory
_PATIENCE_S = 10  # seconds to wait for the end of killed processes
_MIB = 2**20
_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s?)?")


def parse_duration(value: float | str, what: str) -> float:
    """Return a duration in seconds: a number of seconds, or text such as "90s", "30m" or "1h30m". `what` names it in error messages.

    Example:
        >>> parse_duration("1h30m", "budget"), parse_duration("45", "budget"), parse_duration(2.5, "timeout")
        (5400.0, 45.0, 2.5)
    """
    found = _DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
    seconds = sum(float(part or 0) * unit for part, unit in zip(found.groups(), (3600, 60, 1), strict=True)) if found else 0.0
    if not isinstance(value, str) and not isinstance(value, bool):
        seconds = float(value)
    if not 0 < seconds < float("inf"):
        raise InputError(f'{what} is {value!r}; expected a duration above 0: seconds, or text such as "90s", "30m" or "1h30m"')
    return seconds


def run_limited(
    command: Sequence[str], log: BinaryIO, environment: Mapping[str, str], timeout_s: float | None, memory_mib: float | None
) -> tuple[int, str | None]:
    """Run a command, with its output in a log file, and kill it and its children if it exceeds a limit.

    Its standard input is a pipe that closes when this process ends, however it ends, so that the command can end as well.

    Args:
        command: program and arguments.
        log: file that receives standard output and standard error.
        environment: environment variables.
        timeout_s: time limit in seconds; None for no limit.
        memory_mib: limit of the resident memory in MiB, the sum over the process and its children; None for no limit. Memory that processes
            share counts for each of them.

    Returns:
        The exit status, and the reason why the process was killed, or None if it ended by itself.
    """
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log, env=environment)
    assert process.stdin is not None
    try:
        reason = _watch(process, timeout_s, memory_mib)
    finally:
        if process.poll() is None:
            _kill(process.pid)  # a limit is exceeded, or Ctrl-C has interrupted the wait
        process.stdin.close()
    return process.wait(), reason


def _watch(process: subprocess.Popen[bytes], timeout_s: float | None, memory_mib: float | None) -> str | None:
    """Wait until the process has ended (None) or exceeds a limit (the reason)."""
    start = time.monotonic()
    while True:
        left = None if timeout_s is None else max(0.0, start + timeout_s - time.monotonic())
        pause = left if memory_mib is None else _POLL_S if left is None else min(_POLL_S, left)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(pause)
            return None
        if timeout_s is not None and time.monotonic() - start >= timeout_s:
            return f"killed: it took longer than its time limit of {timeout_s:g} s; raise timeout to give it more"
        used = 0.0 if memory_mib is None else _resident_mib(process.pid)
        if memory_mib is not None and used > memory_mib:
            return f"killed: it used {used:.0f} MiB, more than its memory limit of {memory_mib:g} MiB; raise memory_mib to give it more"


def _tree(pid: int) -> list[psutil.Process]:
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _resident_mib(pid: int) -> float:
    total = 0
    for process in _tree(pid):
        with contextlib.suppress(psutil.NoSuchProcess):
            total += process.memory_info().rss
    return total / _MIB


def _kill(pid: int) -> None:
    """Kill a process and its children, and wait for the end of the children, so that they don't disturb the next case."""
    processes = _tree(pid)
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes[1:], timeout=_PATIENCE_S)


def end_with_parent(scratch: Path) -> None:
    """End this process when the one that started it has ended, even by `kill -9`, and remove the scratch folder that it leaves behind."""

    def wait() -> None:
        os.read(0, 1)  # standard input is a pipe of the parent, and ends with it
        shutil.rmtree(scratch, ignore_errors=True)
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
