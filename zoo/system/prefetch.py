"""Prefetching: threads run a limited number of jobs ahead of the network, and the results are returned in order.

OpenCV, torch and Pillow release Python's global interpreter lock while decoding, scaling and drawing. Threads are therefore sufficient, and
images needn't be copied between processes.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch

T = TypeVar("T")
_SETTLING = threading.Lock()


@dataclass(frozen=True)
class Job(Generic[T]):
    """A function that computes a result."""

    run: Callable[[], T]
    early: bool = True  # whether it may run before its result is requested; False for a camera frame, which would be outdated by then


class Window(Generic[T]):
    """First-in, first-out queue of jobs and their results.

    The threads are started together with the first early job. Leaving the context waits for running jobs, cancels all others and ends the
    threads. The length of the queue is the number of jobs whose results have not been retrieved yet.
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
        """Add a job. An `early` job starts as soon as a thread is free, any other job when its result is requested."""
        if not early:
            self._results.append(run)
            return
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._number, "zoo-ahead", _compute_alone)
        self._results.append(self._pool.submit(run).result)

    def take(self) -> T:
        """Remove the first job, and return its result or raise its exception."""
        return self._results.popleft()()


def in_order(jobs: Iterable[Job[T]], size: int, threads: int) -> Generator[T]:
    """Yield the results of jobs in order, while later jobs are running in threads.

    Exceptions raised by a job, or by `jobs` itself, are raised at the corresponding position. The calling thread iterates over `jobs`.
    Closing the generator first ends the threads and then closes `jobs`, so that no job is running when `jobs` is closed.

    At most `size` jobs are requested in advance of the current one. After a job that isn't `early`, no further job is requested until its
    result has been yielded. With a size of 0, every job runs in the calling thread when its result is needed.
    """
    source = iter(jobs)
    try:
        with Window[T](threads) as window:
            early = True
            while True:
                while (not len(window) or (early and len(window) <= size)) and (job := _next(source)) is not None:
                    early = job.early and size > 0
                    window.put(job.run, early)
                if not len(window):
                    return
                yield window.take()
    finally:
        if isinstance(source, Generator):
            source.close()


def _next(source: Iterator[Job[T]]) -> Job[T] | None:
    """Return the next job, or None after the last job. If requesting a job fails, return a job that raises the error."""
    try:
        return next(source, None)
    except Exception as error:
        failed = Future[T]()
        failed.set_exception(error)
        return Job(failed.result)


def _compute_alone() -> None:
    """Limit torch to one thread for computations in the current thread, because more threads would compete with the network.

    `torch.set_num_threads` changes the setting of the current thread and also the default of new threads. A temporary thread restores the
    default.
    """
    with _SETTLING:
        others = torch.get_num_threads()
        torch.set_num_threads(1)
        restoring = threading.Thread(target=torch.set_num_threads, args=(others,))
        restoring.start()
        restoring.join()
