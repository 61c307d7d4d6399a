"""Ctrl-C, or SIGTERM, in the middle of long work: the work in hand is finished first."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from zoo.errors import ZooError

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(ZooError):
    """Training was stopped by Ctrl-C or by SIGTERM; the run can be resumed."""

    def __init__(self, message: str, number: int = signal.SIGINT) -> None:
        """Build the error.

        Args:
            message: what people see.
            number: the signal; the exit status is 128 more, 130 for Ctrl-C and 143 for SIGTERM, as shells have it.
        """
        super().__init__(message)
        self.exit_status = 128 + number


class Stop(threading.Event):
    """What the first signal sets.

    Attributes:
        number: which signal it was.
    """

    number: int = signal.SIGINT

    def got(self, number: int) -> bool:
        """Tell whether it was this signal."""
        return self.is_set() and self.number == number


@contextmanager
def graceful_interrupt() -> Iterator[Stop]:
    """Let the first Ctrl-C or SIGTERM finish the step in hand; the second one stops at once.

    Yields:
        What the first one sets.
    """
    event = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def stop(number: int, frame: FrameType | None) -> None:
        event.number = number
        event.set()
        restore()

    for number in SIGNALS:
        signal.signal(number, stop)
    try:
        yield event
    finally:
        restore()
