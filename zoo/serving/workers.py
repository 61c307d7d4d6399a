"""A worker process of the server as seen by the server: starting it, sending jobs to it, and noticing its end."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from zoo.errors import InputError
from zoo.serving import frames
from zoo.serving.frames import Header


class WorkerLostError(Exception):
    """The worker process has ended or was ended before it answered."""


@dataclass(frozen=True)
class Answer:
    """Answer of a worker: header and bytes; see `jobs.encode`."""

    header: Header
    body: bytes

    @property
    def parts(self) -> list[bytes]:
        """The encoded predictions."""
        found, start = [], 0
        for size in self.header["parts"]:
            found.append(self.body[start : start + size])
            start += size
        return found


class WorkerProcess:
    """One worker process and the jobs that it has not answered yet.

    Attributes:
        models: descriptions of its models by name, once it is ready.
        ready: whether it answers jobs.
        pictures: number of pictures that it has not answered yet.
        memory: resident memory in bytes at the last ping.
    """

    def __init__(self, threads: int | None, log: Callable[[Header], None]) -> None:
        self.models: dict[str, Any] = {}
        self.ready, self.pictures, self.memory = False, 0, 0
        self._threads, self._log = threads, log
        self._pending: dict[int, tuple[asyncio.Future[Answer], int, bool]] = {}
        self._number = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._loaded: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._loaded.add_done_callback(lambda loaded: loaded.cancelled() or loaded.exception())  # a spare's end isn't an error
        self.ended = asyncio.Event()

    @property
    def pid(self) -> int:
        """Process number; 0 before `start`."""
        return 0 if self._process is None else self._process.pid

    @property
    def asked(self) -> int:
        """Number of jobs that it has not answered yet, without pings."""
        return sum(not future.cancelled() and not ping for future, _, ping in self._pending.values())

    async def launch(self) -> None:
        """Start the process, which imports everything that it needs."""
        ours, theirs = socket.socketpair()
        environment = dict(os.environ)
        if self._threads is not None:
            environment.setdefault("OMP_NUM_THREADS", str(self._threads))
        with theirs:
            command = [sys.executable, "-m", "zoo.serving.worker", str(theirs.fileno())]
            self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, env=environment)
        reader, self._writer = await asyncio.open_unix_connection(sock=ours)
        self._reading = asyncio.create_task(self._read(reader))

    async def load(self, spec: Header) -> None:
        """Let the process load its models, and wait until it is ready.

        Raises:
            InputError: a model can't be loaded.
        """
        if not self.ended.is_set():
            self._send(spec)
        await asyncio.shield(self._loaded)

    async def ask(self, header: Header, pictures: Sequence[bytes], timeout: float | None = None) -> Answer:
        """Send a job and return its answer.

        Raises:
            WorkerLostError: the process has ended.
            TimeoutError: there is no answer within `timeout` seconds.
        """
        if self.ended.is_set():
            raise WorkerLostError
        self._number += 1
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._pending[self._number] = future, len(pictures), header["do"] == "ping"
        self.pictures += len(pictures)
        self._send({**header, "id": self._number}, pictures)
        async with asyncio.timeout(timeout):
            return await future

    def kill(self) -> None:
        """End the process at once. Its jobs fail with `WorkerLostError`."""
        if self._process is not None:
            self._process.kill()

    async def close(self) -> None:
        """End the process, and wait until it has ended."""
        if self._process is None:
            return
        self.kill()
        await self.ended.wait()
        await asyncio.gather(self._reading, return_exceptions=True)  # closes the connection

    def _send(self, header: Header, parts: Sequence[bytes] = ()) -> None:
        assert self._writer is not None
        self._writer.writelines([frames.encode(header, sum(map(len, parts))), *parts])

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            while True:
                header, body = await frames.receive(reader)
                self._take(header, body)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            await self._end()

    def _take(self, header: Header, body: bytes) -> None:
        if "failed" in header and not self._loaded.done():
            self._loaded.set_exception(InputError(header["failed"]))
        elif "models" in header:
            self.models, self.ready = header["models"], True
            if not self._loaded.done():
                self._loaded.set_result(None)
        elif "log" in header:
            self._log({"event": "internal error", "error": header["log"], "request_id": header["request"]})
        elif header["id"] in self._pending:
            future, count, _ = self._pending.pop(header["id"])
            self.pictures -= count
            if not future.done():
                future.set_result(Answer(header, body))

    async def _end(self) -> None:
        assert self._process is not None
        self.ready = False
        for future, *_ in self._pending.values():
            if not future.done():
                future.set_exception(WorkerLostError())
        self._pending.clear()
        self.pictures = 0
        self.ended.set()
        self._process.kill()
        status = await asyncio.to_thread(self._process.wait)
        if self._writer is not None:
            self._writer.close()
        if not self._loaded.done():
            self._loaded.set_exception(InputError(f"the worker process ended while it loaded the models (exit status {status})"))
