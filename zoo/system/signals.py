"""Graceful handling of Ctrl-C and SIGTERM: the current step is finished first."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from zoo.errors import ZooError

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(ZooError):
    """Error raised when Ctrl-C or SIGTERM has stopped training, which can be resumed.

    As in shells, the exit status is 128 + signal number.
    """

    def __init__(self, message: str, number: int = signal.SIGINT) -> None:
        super().__init__(message)
        self.exit_status = 128 + number


@dataclass
class Stop:
    """Request to stop: the number of the first signal, or 0 until one has been received."""

    number: int = 0


@contextmanager
def graceful_interrupt() -> Iterator[Stop]:
    """Handle Ctrl-C and SIGTERM in the body so that the current step can finish.

    The first signal sets the number of the yielded request. A second signal stops the process at once.
    """
    request = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def stop(number: int, frame: FrameType | None) -> None:
        request.number = number
        restore()

    for number in SIGNALS:
        signal.signal(number, stop)
    try:
        yield request
    finally:
        restore()
