"""All worker processes of the server: they are watched, replaced and reloaded."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zoo.errors import InputError
from zoo.serving.frames import Header
from zoo.serving.settings import Settings, worker_spec
from zoo.serving.workers import WorkerLostError, WorkerProcess
from zoo.system.threads import usable_cores

LOADING_S = 600.0  # compiling for an engine and comparing it with eager takes minutes for large models
_PING_S = 0.5
_SILENT_S = 5.0  # a worker that answers no ping for so long hangs: its threads share a lock only for milliseconds
_LEAST_WAITING, _MOST_WAITING = 16, 64  # pictures per worker
_BACKOFF_S = (0.0, 0.5, 2.0, 5.0)  # delays before the attempts to replace a worker


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
    _spares: list[WorkerProcess] = field(default_factory=list)
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
    def limit(self) -> int:
        """Number of pictures that are waiting or being computed from which further requests are refused.

        By default, one batch is computed while the next one waits; a longer queue doesn't raise the throughput, only the latency. With 16
        pictures, an accepted picture is answered after the time of 16 computations at most, however many requests arrive. For comparison:
        if pictures arrive at random at 0.8 of the capacity, and each takes the same time, one in a hundred needs more than 11 of these.
        """
        if self.settings.queue is not None:
            return self.settings.queue
        batch = max((model["batch_size"] for model in self.models.values()), default=1)
        return min(_MOST_WAITING, max(_LEAST_WAITING, 2 * batch)) * self.settings.workers

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
        self._run(self._prepare())

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
        self._run(self._prepare())
        self.log({"event": "reloaded"})
        return True

    async def close(self) -> None:
        """End all workers."""
        self._closing = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*[worker.close() for worker in [*self.workers, *self._spares]])
        for folder in self._folders:
            folder.cleanup()

    async def _generation(self) -> list[WorkerProcess]:
        """Start a new set of workers, one after the other; the first compiles the models for all of them if that is requested."""
        folder = tempfile.TemporaryDirectory(prefix="zoo-serve-")
        self._folders.append(folder)
        found: list[WorkerProcess] = []
        try:
            for _ in range(self.settings.workers):
                worker = await self._launched()
                found.append(worker)
                await self._load(worker, Path(folder.name))
        except BaseException:
            for worker in found:
                await worker.close()
            folder.cleanup()
            self._folders.remove(folder)
            raise
        return found

    async def _launched(self) -> WorkerProcess:
        """Return a process that has been started: the spare one, if there is one."""
        while self._spares:
            if not (spare := self._spares.pop()).ended.is_set():
                return spare
        count = self.settings.workers
        worker = WorkerProcess(None if count == 1 else max(1, usable_cores() // count), self.log)
        await worker.launch()
        return worker

    async def _prepare(self) -> None:
        """Start a spare process, so that one that replaces another has already imported its modules, which takes seconds."""
        if not self._closing and not self._spares:
            self._spares.append(await self._launched())

    async def _load(self, worker: WorkerProcess, folder: Path) -> None:
        try:
            async with asyncio.timeout(LOADING_S):
                await worker.load(worker_spec(self.settings, folder))
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
            fresh = await self._launched()
            if worker not in self.workers:
                await fresh.close()
                return
            self.workers[self.workers.index(worker)] = worker = fresh
            self.restarts += 1
            try:
                await self._load(fresh, Path(self._folders[-1].name))
            except InputError as error:
                self.log({"event": "worker not replaced", "error": str(error)})
                failures += 1
                continue
            self.log({"event": "worker replaced", "pid": fresh.pid})
            self._run(self._watch(fresh))
            self._run(self._prepare())
            return

    async def _ended(self, worker: WorkerProcess) -> None:
        """Wait until a worker has ended, and end it if it hangs."""
        limit = self.settings.timeout + _SILENT_S
        while not worker.ended.is_set():
            begun = time.monotonic()
            try:
                found = await worker.ask({"do": "ping"}, (), _SILENT_S)
            except WorkerLostError:
                break
            except TimeoutError:
                if time.monotonic() - begun > 1.5 * _SILENT_S:
                    continue  # the server itself was stopped or had no processor, so the answer may be waiting
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
