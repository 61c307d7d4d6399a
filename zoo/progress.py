"""What people see while they wait: bars on a terminal, plain lines elsewhere; always on standard error."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

T = TypeVar("T")
_PLAIN_SECONDS = 15.0  # between two plain lines of the same bar


class Progress:
    """A bar on a terminal; a line now and then elsewhere; nothing at all where `enabled` is false."""

    def __init__(self, enabled: bool = True) -> None:
        """Look at standard error; nothing is drawn yet."""
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._enabled = enabled
        self._bars: RichProgress | None = None
        self._bar: TaskID | None = None
        self._label, self._total, self._last = "", 0, 0.0
        self._done = 0.0

    def __enter__(self) -> Progress:
        """Start drawing."""
        if self._enabled and self._console.is_terminal:
            self._bars = RichProgress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=self._console,
                transient=True,
            )
            self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stop drawing."""
        if self._bars is not None:
            self._bars.stop()
            self._bars = None

    def say(self, text: str) -> None:
        """Print a line that stays."""
        if self._enabled:
            self._console.print(text, markup=False)

    def begin(self, label: str, total: int, done: int = 0) -> None:
        """Start a bar over `total` steps; the one before it is gone."""
        self._label, self._done, self._total, self._last = label, done, total, time.monotonic()
        if self._bars is not None:
            if self._bar is not None:
                self._bars.remove_task(self._bar)
            self._bar = self._bars.add_task(label, total=total, completed=done)

    def advance(self, note: str = "", steps: float = 1) -> None:
        """Move the bar."""
        self._done += steps
        if self._bars is not None and self._bar is not None:
            self._bars.update(self._bar, advance=steps, description=f"{self._label} {note}".strip())
        elif self._enabled and self._done < self._total and time.monotonic() - self._last > _PLAIN_SECONDS:
            self._last = time.monotonic()
            self.say(f"{self._label}: {int(self._done)}/{self._total} {note}".rstrip())

    def track(self, items: Iterable[T], label: str, total: int) -> Iterator[T]:
        """Iterate with a bar."""
        self.begin(label, total)
        for item in items:
            yield item
            self.advance()


class Part(Progress):
    """One step of a larger bar: what counts its own work moves that bar on, by one step altogether."""

    def __init__(self, whole: Progress, note: str) -> None:
        """Begin.

        Args:
            whole: the larger bar, which has begun.
            note: what stands beside its label meanwhile.
        """
        super().__init__(enabled=False)
        self._whole, self._note = whole, note

    def say(self, text: str) -> None:
        """Print a line that stays."""
        self._whole.say(text)

    def advance(self, note: str = "", steps: float = 1) -> None:
        """Move the larger bar."""
        self._whole.advance(self._note, steps / max(1, self._total))


@contextlib.contextmanager
def log_to(progress: Progress) -> Iterator[None]:
    """Show what the zoo's log says through the progress display, so that lines and bars don't tear each other."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            progress.say(record.getMessage())

    log, handler = logging.getLogger("zoo"), Handler()
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
