"""Prefetching: threads run jobs ahead of the network, within a bounded window, and return the results in order.

Decoding, scaling and drawing release Python's global interpreter lock (OpenCV, torch, Pillow). Threads are therefore sufficient, and
images need not be copied between processes.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Generic, NoReturn, TypeVar

import torch

T = TypeVar("T")
_SETTLING = threading.Lock()


@dataclass(frozen=True)
class Job(Generic[T]):
    """A function that computes a result; `early` is whether it may run before its turn: a camera frame would be outdated."""

    run: Callable[[], T]
    early: bool = True


class Window(Generic[T]):
    """First-in, first-out queue of running and finished jobs, whose threads start with the first early job.

    Leaving the context waits for running jobs, drops all others and ends the threads. The length is the number of results not yet taken.
    """

    def __init__(self, threads: int) -> None:
        self._number = threads
        self._pool: ThreadPoolExecutor | None = None
        self._results: deque[Callable[[], T]] = deque()

    def __enter__(self) -> Window[T]:
        return self

    def __exit__(self, *error: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def __len__(self) -> int:
        return len(self._results)

    def put(self, run: Callable[[], T], early: bool = True) -> None:
        """Add a job, which starts when a thread is free, or when its result is taken if it isn't `early`."""
        if not early:
            self._results.append(run)
            return
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._number, "zoo-ahead", _compute_alone)
        self._results.append(self._pool.submit(run).result)

    def take(self) -> T:
        """Return the result of the first job, or raise its exception."""
        return self._results.popleft()()


def in_order(jobs: Iterable[Job[T]], size: int, threads: int) -> Generator[T]:
    """Yield the results of jobs in order, while later jobs are running in threads.

    At most `size` jobs beyond the one whose result is yielded are requested, none beyond one that isn't `early`; with a size of 0, every
    job runs at its turn in the calling thread, in which `jobs` is always iterated. Exceptions of a job, and of `jobs` itself, are raised at
    their position in this order. Closing the generator first ends the threads and then closes `jobs`, so that no job is running any more
    when `jobs` is closed.
    """
    source = iter(jobs)
    try:
        with Window[T](threads) as window:
            more, early = True, True
            while True:
                while more and (not len(window) or (early and len(window) <= size)):
                    job = _next(source)
                    if job is None:
                        more = False
                    else:
                        early = job.early and size > 0
                        window.put(job.run, early)
                if not len(window):
                    return
                yield window.take()
    finally:
        if isinstance(source, Generator):
            source.close()


def _next(source: Iterator[Job[T]]) -> Job[T] | None:
    """Return the next job, or None after the last one; if requesting it fails, return a job that raises the error."""
    try:
        return next(source, None)
    except Exception as error:
        return Job(partial(_raise, error))


def _raise(error: Exception) -> NoReturn:
    try:
        raise error
    finally:
        del error  # its traceback refers to this frame


def _compute_alone() -> None:
    """Limit torch to one thread in the current thread: a thread per core would compete with the network.

    torch stores the number per thread, and also the number that new threads start with, which another thread restores.
    """
    with _SETTLING:
        others = torch.get_num_threads()
        torch.set_num_threads(1)
        restoring = threading.Thread(target=torch.set_num_threads, args=(others,))
        restoring.start()
        restoring.join()
