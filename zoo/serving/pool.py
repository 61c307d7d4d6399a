"""The worker processes of the server: they are started, given jobs, watched, replaced and reloaded."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zoo.errors import InputError
from zoo.serving import frames
from zoo.serving.frames import Header
from zoo.serving.settings import Settings, worker_spec
from zoo.system.threads import usable_cores

LOADING_S = 600.0  # compiling for an engine and comparing it with eager takes minutes for large models
_PING_S = 0.5
_SILENT_S = 5.0  # a worker that answers no ping for so long hangs: its threads share a lock only for milliseconds
_BACKOFF_S = (0.0, 0.5, 2.0, 5.0)  # delays before the attempts to replace a worker


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

    def __init__(self, spec: Header, threads: int | None, log: Callable[[Header], None]) -> None:
        self.models: dict[str, Any] = {}
        self.ready, self.pictures, self.memory = False, 0, 0
        self._spec, self._threads, self._log = spec, threads, log
        self._pending: dict[int, tuple[asyncio.Future[Answer], int, bool]] = {}
        self._number = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._writer: asyncio.StreamWriter | None = None
        self.ended = asyncio.Event()

    @property
    def pid(self) -> int:
        """Process number; 0 before `start`."""
        return 0 if self._process is None else self._process.pid

    @property
    def asked(self) -> int:
        """Number of jobs that it has not answered yet, without pings."""
        return sum(not future.cancelled() and not ping for future, _, ping in self._pending.values())

    async def start(self) -> asyncio.Future[None]:
        """Start the process, and return a future that is done when its models are loaded; it has an `InputError` if they can't be."""
        ours, theirs = socket.socketpair()
        environment = dict(os.environ)
        if self._threads is not None:
            environment.setdefault("OMP_NUM_THREADS", str(self._threads))
        with theirs:
            command = [sys.executable, "-m", "zoo.serving.worker", str(theirs.fileno())]
            self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, env=environment)
        reader, self._writer = await asyncio.open_unix_connection(sock=ours)
        loaded: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._reading = asyncio.create_task(self._read(reader, loaded))
        self._send(self._spec)
        return loaded

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
        self.kill()
        await self.ended.wait()

    def _send(self, header: Header, parts: Sequence[bytes] = ()) -> None:
        assert self._writer is not None
        self._writer.writelines([frames.encode(header, sum(map(len, parts))), *parts])

    async def _read(self, reader: asyncio.StreamReader, loaded: asyncio.Future[None]) -> None:
        try:
            while True:
                header, body = await frames.receive(reader)
                self._take(header, body, loaded)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            await self._end(loaded)

    def _take(self, header: Header, body: bytes, loaded: asyncio.Future[None]) -> None:
        if "failed" in header and not loaded.done():
            loaded.set_exception(InputError(header["failed"]))
        elif "models" in header:
            self.models, self.ready = header["models"], True
            if not loaded.done():
                loaded.set_result(None)
        elif "log" in header:
            self._log({"event": "internal error", "error": header["log"], "request_id": header["request"]})
        elif header["id"] in self._pending:
            future, count, _ = self._pending.pop(header["id"])
            self.pictures -= count
            if not future.done():
                future.set_result(Answer(header, body))

    async def _end(self, loaded: asyncio.Future[None]) -> None:
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
        if not loaded.done():
            loaded.set_exception(InputError(f"the worker process ended while it loaded the models (exit status {status})"))


@dataclass
class Pool:
    """All worker processes. `start` begins to watch them, `reload` replaces them by new ones.

    Attributes:
        settings: settings of the server.
        log: callback that receives events, such as the end of a worker.
        workers: the current workers, some of which may not be ready.
        restarts: number of workers that were replaced.
    """

    settings: Settings
    log: Callable[[Header], None]
    workers: list[WorkerProcess] = field(default_factory=list)
    restarts: int = 0
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _folders: list[tempfile.TemporaryDirectory[str]] = field(default_factory=list)
    _closing: bool = False
    _reloading: bool = False

    @property
    def ready(self) -> bool:
        """Whether all workers are ready."""
        return not self._closing and bool(self.workers) and all(worker.ready for worker in self.workers)

    @property
    def pictures(self) -> int:
        """Number of pictures that are waiting or being computed."""
        return sum(worker.pictures for worker in self.workers)

    @property
    def models(self) -> dict[str, Any]:
        """Descriptions of the models by name."""
        return next((worker.models for worker in self.workers if worker.models), {})

    def pick(self) -> WorkerProcess | None:
        """Return the ready worker with the fewest pictures; None if no worker is ready."""
        return min((worker for worker in self.workers if worker.ready), key=lambda worker: worker.pictures, default=None)

    async def start(self) -> None:
        """Start all workers, and wait until they are ready.

        Raises:
            InputError: a model can't be loaded.
        """
        self.workers = await self._generation()
        for worker in self.workers:
            self._run(self._watch(worker))

    async def reload(self) -> bool:
        """Load all models again in new workers, which replace the present ones once they are ready. Returns whether they did."""
        if self._reloading or self._closing:
            return False
        self._reloading = True
        try:
            fresh = await self._generation()
        except InputError as error:
            self.log({"event": "reload failed", "error": str(error)})
            return False
        finally:
            self._reloading = False
        former, self.workers = self.workers, fresh
        for worker in fresh:
            self._run(self._watch(worker))
        self._run(self._retire(former))
        self.log({"event": "reloaded"})
        return True

    async def close(self) -> None:
        """End all workers."""
        self._closing = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*[worker.close() for worker in self.workers if worker.pid])
        for folder in self._folders:
            folder.cleanup()

    async def _generation(self) -> list[WorkerProcess]:
        """Start workers that load the models anew, one after the other: the first compiles them for all if that is requested."""
        folder = tempfile.TemporaryDirectory(prefix="zoo-serve-")
        self._folders.append(folder)
        found: list[WorkerProcess] = []
        try:
            for _ in range(self.settings.workers):
                worker = self._create(Path(folder.name))
                found.append(worker)
                await self._loaded(worker)
        except BaseException:
            for worker in found:
                await worker.close()
            folder.cleanup()
            self._folders.remove(folder)
            raise
        return found

    def _create(self, folder: Path) -> WorkerProcess:
        count = self.settings.workers
        spec = worker_spec(self.settings, folder)
        return WorkerProcess(spec, None if count == 1 else max(1, usable_cores() // count), self.log)

    async def _loaded(self, worker: WorkerProcess) -> None:
        try:
            async with asyncio.timeout(LOADING_S):
                await (await worker.start())
        except TimeoutError:
            worker.kill()
            raise InputError(f"the models were not loaded within {LOADING_S:.0f} s") from None

    async def _watch(self, worker: WorkerProcess) -> None:
        """Wait until a worker ends or hangs, and replace it."""
        await self._ended(worker)
        if worker not in self.workers:
            return  # it was retired by a reload
        failures = 0
        self.log({"event": "worker lost", "pid": worker.pid})
        while worker in self.workers:
            await asyncio.sleep(_BACKOFF_S[min(failures, len(_BACKOFF_S) - 1)])
            fresh = self._create(Path(self._folders[-1].name))
            place = self.workers.index(worker)
            self.workers[place] = worker = fresh
            self.restarts += 1
            try:
                await self._loaded(fresh)
            except InputError as error:
                self.log({"event": "worker not replaced", "error": str(error)})
                failures += 1
                continue
            self.log({"event": "worker replaced", "pid": fresh.pid})
            self._run(self._watch(fresh))
            return

    async def _ended(self, worker: WorkerProcess) -> None:
        """Wait until a worker has ended, and end it if it hangs."""
        limit = self.settings.timeout + _SILENT_S
        while not worker.ended.is_set():
            try:
                found = await worker.ask({"do": "ping"}, (), _SILENT_S)
            except WorkerLostError:
                break
            except TimeoutError:
                self.log({"event": "worker hangs", "pid": worker.pid})
                worker.kill()
                break
            worker.memory = found.header["memory"]
            if found.header["busy"] > limit:
                self.log({"event": "worker hangs", "pid": worker.pid, "busy_s": round(found.header["busy"], 1)})
                worker.kill()
                break
            try:
                await asyncio.wait_for(worker.ended.wait(), _PING_S)
            except TimeoutError:
                continue
        worker.ready = False
        await worker.ended.wait()

    async def _retire(self, workers: Sequence[WorkerProcess]) -> None:
        """End workers that were replaced, after they have answered their jobs."""
        end = time.monotonic() + self.settings.timeout
        while any(worker.asked and not worker.ended.is_set() for worker in workers) and time.monotonic() < end:
            await asyncio.sleep(0.05)
        for worker in workers:
            await worker.close()

    def _run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
