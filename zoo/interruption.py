"""Ctrl-C in the middle of long work: the work in hand is finished first."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from zoo.errors import ZooError


class Interrupted(ZooError):
    """Training was stopped by Ctrl-C; the run can be resumed."""

    exit_status = 130


@contextmanager
def graceful_interrupt() -> Iterator[threading.Event]:
    """Let the first Ctrl-C finish the step in hand; the second one stops at once.

    Yields:
        What the first Ctrl-C sets.
    """
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    before = signal.getsignal(signal.SIGINT)

    def stop(number: int, frame: FrameType | None) -> None:
        event.set()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, stop)
    try:
        yield event
    finally:
        signal.signal(signal.SIGINT, before)
