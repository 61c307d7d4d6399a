"""The servers under measurement, in separate processes: `zoo serve`, and LitServe with the same model and engine."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from zoo.benchmarks.serving.load import Plan
from zoo.errors import ZooError
from zoo.system.hardware import cpu_has_bf16

_START_S, _STOP_S = 180.0, 20.0
_WORKER = "zoo.serving.worker"


class ServerError(ZooError):
    """A server hasn't started."""


@dataclass(frozen=True)
class Server:
    """A running server.

    Attributes:
        url: its address.
        process: its main process.
        path: path to which pictures are sent.
        health: path that answers 200 when it is ready.
        field: name of the file's field in the form.
    """

    url: str
    process: psutil.Process
    path: str
    health: str
    field: str

    def plan(self, files: Sequence[str], clients: int, seconds: float, rate: float | None = None, **others: object) -> Plan:
        """Return a plan that sends files to this server; the arguments are those of `load.Plan`."""
        return Plan(self.url, self.path, files, clients, seconds, rate=rate, field=self.field, **others)  # type: ignore[arg-type]

    def ready(self) -> bool:
        """Return whether the server answers that it is ready."""
        try:
            with urllib.request.urlopen(self.url + self.health, timeout=10) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def workers(self) -> list[psutil.Process]:
        """Return the worker processes of `zoo serve`, the oldest first; the last one is the spare."""
        found = []
        for child in self.process.children():
            with contextlib.suppress(psutil.Error):
                if child.status() != psutil.STATUS_ZOMBIE and _WORKER in child.cmdline():
                    found.append(child)
        return sorted(found, key=lambda child: (child.create_time(), child.pid))

    def pause(self) -> None:
        """Stop all processes of the server until the next measurement. LitServe's take a core and more while they wait for requests."""
        os.killpg(self.process.pid, signal.SIGSTOP)

    @contextlib.contextmanager
    def resumed(self) -> Iterator[None]:
        """Return a context in which the processes of a paused server run."""
        os.killpg(self.process.pid, signal.SIGCONT)
        try:
            yield
        finally:
            self.pause()

    def resident_mib(self, workers: int) -> float:
        """Return the resident memory of the server and of its first `workers` worker processes."""
        return float(sum(process.memory_info().rss for process in (self.process, *self.workers()[:workers]))) / 2**20


@contextlib.contextmanager
def zoo_server(model: Path, *words: str) -> Iterator[Server]:
    """Run `zoo serve MODEL` with further arguments on a free port."""
    port = _free_port()
    command = [sys.executable, "-m", "zoo", "serve", str(model), "--port", str(port), *words]
    with _running(
        command, lambda process: Server(f"http://127.0.0.1:{port}", process, "/v1/models/default/predict", "/readyz", "files")
    ) as it:
        yield it


@contextlib.contextmanager
def lit_server(model: Path, batch: int, precision: str, workers: int = 1) -> Iterator[Server]:
    """Run LitServe with the same model and engine, on a free port.

    Args:
        model: folder of the compiled model.
        batch: maximum size of a batch.
        precision: fp32, bf16 or int8.
        workers: number of worker processes, among which the cores are divided.
    """
    port, hint = _free_port(), "bf16" if precision != "fp32" and cpu_has_bf16() else "f32"
    words = (model, port, batch, hint, workers)
    command = [sys.executable, "-m", "zoo.benchmarks.serving.litserver", *map(str, words)]
    with _running(command, lambda process: Server(f"http://127.0.0.1:{port}", process, "/predict", "/health", "image")) as it:
        yield it


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def _running(command: Sequence[str], create: Callable[[psutil.Process], Server]) -> Iterator[Server]:
    with tempfile.TemporaryFile("w+") as output:
        # a separate process group, so that all its processes can be ended
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True)
        try:
            server, end = create(psutil.Process(process.pid)), time.monotonic() + _START_S
            while not server.ready():
                if process.poll() is not None or time.monotonic() > end:
                    output.seek(0)
                    raise ServerError(f"{' '.join(command[1:5])} … isn't ready; its output ends with:\n{output.read()[-2000:]}")
                time.sleep(0.05)
            yield server
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGCONT)  # it may be paused
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_STOP_S)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
