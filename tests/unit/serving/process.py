"""A real `zoo serve` process for tests: started on a free port, and ended with the test."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil

READY_S = 120.0


class ServerProcess:
    """A running server: `client` sends requests to it, `lines` is what it has written to standard error."""

    def __init__(self, words: list[str]) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "zoo", "serve", *words, "--port", "0"]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            line = self.line("zoo: ready")
        except AssertionError:
            self.end()
            raise
        self.url = line.split()[-1]
        self.client = httpx.Client(base_url=self.url, timeout=60)

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line.rstrip())

    def line(self, start: str, timeout: float = READY_S) -> str:
        """Wait for a line that contains a text, and return it."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            found = next((line for line in self.lines if start in line), None)
            if found is not None:
                return found
            if self.process.poll() is not None and not self._reader.is_alive():
                break
            time.sleep(0.02)
        raise AssertionError(f"no line with {start!r}:\n" + "\n".join(self.lines))

    @property
    def port(self) -> int:
        """Port of the server."""
        found = re.search(r":(\d+)$", self.url)
        assert found is not None
        return int(found[1])

    def workers(self) -> list[psutil.Process]:
        """Return the worker processes, the oldest first; the last one is the spare."""
        children = psutil.Process(self.process.pid).children()
        found = [child for child in children if child.status() != psutil.STATUS_ZOMBIE and "zoo.serving.worker" in child.cmdline()]
        return sorted(found, key=lambda child: (child.create_time(), child.pid))

    def ready(self) -> bool:
        """Return whether all workers are ready."""
        return int(self.client.get("/readyz").status_code) == 200

    def wait(self, ready: bool, timeout: float = READY_S) -> float:
        """Wait until the server is ready, or isn't any more, and return the seconds."""
        begun = time.monotonic()
        while self.ready() != ready:
            assert time.monotonic() - begun < timeout
            time.sleep(0.02)
        return time.monotonic() - begun

    def end(self) -> None:
        """End the process at once."""
        self.process.kill()
        self.process.wait()
        self._reader.join()
        assert self.process.stderr is not None
        self.process.stderr.close()

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal, and return the exit status."""
        self.process.send_signal(number)
        return self.process.wait(60)


@contextmanager
def served(*words: str | Path) -> Iterator[ServerProcess]:
    """Run a server with these arguments."""
    server = ServerProcess([str(word) for word in words])
    try:
        yield server
    finally:
        server.client.close()
        server.end()
