"""Dynamic batching: pictures of different requests that are ready at the same time are computed together.

A picture never waits for requests that may come. It waits for pictures that have arrived and are still being decoded, at most for the time
that the user allows. A lone request is therefore never delayed, and under load the batches fill while the previous one is computed.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class _Ready(Generic[T]):
    item: T
    since: float  # time.monotonic()


class Batches(Generic[T]):
    """Queue of pictures in order of readiness, from which batches of one model are taken.

    `expect`, `add` and `withdraw` may be called from any thread.
    """

    def __init__(self, sizes: Mapping[str, int], wait_s: float) -> None:
        """Create an empty queue.

        Args:
            sizes: maximum size of a batch by model name.
            wait_s: how long a picture may wait for others that are being decoded, in seconds.
        """
        self._sizes, self._wait_s = dict(sizes), wait_s
        self._ready: dict[str, deque[_Ready[T]]] = {name: deque() for name in sizes}
        self._coming: Counter[str] = Counter()
        self._changed = threading.Condition()
        self._closed = False

    def expect(self, model: str, count: int) -> None:
        """Announce pictures, each of which is later added or withdrawn."""
        with self._changed:
            self._coming[model] += count

    def add(self, model: str, item: T) -> None:
        """Add an expected picture that is ready to be computed."""
        with self._changed:
            self._coming[model] -= 1
            self._ready[model].append(_Ready(item, time.monotonic()))
            self._changed.notify()

    def withdraw(self, model: str) -> None:
        """Remove an expected picture that can't be read."""
        with self._changed:
            self._coming[model] -= 1
            self._changed.notify()

    def close(self) -> None:
        """Let `take` return None as soon as the queue is empty."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def take(self) -> tuple[str, list[T]] | None:
        """Wait for a batch, and return its model and pictures: those that have been ready for longest; None after `close`."""
        with self._changed:
            while True:
                waiting = [name for name, items in self._ready.items() if items]
                if not waiting:
                    if self._closed:
                        return None
                    self._changed.wait()
                    continue
                model = min(waiting, key=lambda name: self._ready[name][0].since)
                items, size = self._ready[model], self._sizes[model]
                left = items[0].since + self._wait_s - time.monotonic()
                if len(items) < size and self._coming[model] and left > 0:
                    self._changed.wait(left)
                    continue
                return model, [items.popleft().item for _ in range(min(size, len(items)))]
