"""Work done ahead: jobs in threads beside the network, never more than a window of them, whose results come in order.

Decoding, scaling and drawing leave Python's lock (OpenCV, torch, Pillow), so that a thread is enough, and pictures need not be copied
between processes.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Generic, NoReturn, TypeVar

import torch

T = TypeVar("T")
_SETTLING = threading.Lock()


@dataclass(frozen=True)
class Job(Generic[T]):
    """What makes one result.

    Attributes:
        run: makes it.
        early: whether it may be done before it is its turn; a camera's frame would be an old one.
    """

    run: Callable[[], T]
    early: bool = True


class Window(Generic[T]):
    """Jobs that are under way or done, first in, first out; leaving the context drops those that wait, and ends the threads."""

    def __init__(self, threads: int) -> None:
        """Begin with none; threads start with the first job that is done early."""
        self._number = threads
        self._pool: ThreadPoolExecutor | None = None
        self._results: deque[Callable[[], T]] = deque()

    def __enter__(self) -> Window[T]:
        """Return it."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Wait for what is under way, and for nothing else."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def __len__(self) -> int:
        """Return how many results haven't been taken."""
        return len(self._results)

    def put(self, run: Callable[[], T], early: bool = True) -> None:
        """Add a job: begun as soon as a thread is free, or when it is taken."""
        if not early:
            self._results.append(run)
            return
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._number, "zoo-ahead", _compute_alone)
        self._results.append(self._pool.submit(run).result)

    def take(self) -> T:
        """Return the first result, or raise what its job raised."""
        return self._results.popleft()()


def in_order(jobs: Iterable[Job[T]], size: int, threads: int) -> Generator[T]:
    """Yield what jobs make, in their order, while those behind are being done.

    What a job raises comes at its place, and so does what `jobs` raises, which is asked for jobs in the calling thread. Closing the
    generator ends the threads, and then closes `jobs`, whose jobs none is working on any more.

    Args:
        jobs: asked for no more than `size` beyond the one whose result is yielded, and not beyond one that isn't `early`.
        size: of the window; 0 for every job at its turn, in the calling thread.
        threads: that do them.
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
    """Return the next job: one that raises where asking for it did; None after the last."""
    try:
        return next(source, None)
    except Exception as error:
        return Job(partial(_raise, error))


def _raise(error: Exception) -> NoReturn:
    try:
        raise error
    finally:
        del error  # it holds this frame


def _compute_alone() -> None:
    """Let torch compute on this thread alone: as many more as there are cores would stand in the network's way.

    torch keeps the number per thread, and beside it the one that new threads begin with; another thread puts that one back.
    """
    with _SETTLING:
        others = torch.get_num_threads()
        torch.set_num_threads(1)
        restoring = threading.Thread(target=torch.set_num_threads, args=(others,))
        restoring.start()
        restoring.join()
