"""What people see while they wait: bars on a terminal, plain lines elsewhere; always on standard error."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from types import TracebackType
from typing import TypeVar

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

T = TypeVar("T")
_PLAIN_SECONDS = 15.0  # between two plain lines of the same bar


@dataclass
class _Count:
    """How far one bar has come.

    Attributes:
        label: what it is of.
        total: steps to its end; 0 where that isn't known.
        done: steps so far.
        first: those of them that were done before it began.
        start: when it began.
        bar: the one on the terminal.
    """

    label: str
    total: int
    done: float
    first: float
    start: float = field(default_factory=lambda: time.monotonic())
    bar: TaskID | None = None

    def left(self) -> str:
        """Return how long it will take to the end, at the pace so far, in words; "" where that can't be known."""
        gone, made = time.monotonic() - self.start, self.done - self.first
        seconds = round(gone / made * (self.total - self.done)) if made > 0 else 0
        return f"{timedelta(seconds=seconds)} left" if seconds > 0 else ""


class Progress:
    """A bar on a terminal; a line now and then elsewhere; nothing at all where `enabled` is false.

    Work that comes in parts, as a training comes in epochs, has a second bar above, for the whole of it.
    """

    def __init__(self, enabled: bool = True) -> None:
        """Look at standard error; nothing is drawn yet."""
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._enabled = enabled
        self._bars: RichProgress | None = None
        self._part: _Count | None = None
        self._whole: _Count | None = None
        self._last = 0.0

    def __enter__(self) -> Progress:
        """Start drawing."""
        if self._enabled and self._console.is_terminal:
            self._bars = RichProgress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=10),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}"),
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

    def begin_whole(self, label: str, total: int, done: int = 0) -> None:
        """Start the bar of everything there is to do; those of the parts come below it."""
        self._whole = self._started(label, total, done, self._whole)

    def begin(self, label: str, total: int, done: int = 0) -> None:
        """Start a bar over `total` steps; the one before it is gone."""
        self._part = self._started(label, total, done, self._part)
        self._last = time.monotonic()

    def advance(self, note: str = "", steps: float = 1) -> None:
        """Move the bar."""
        if self._part is not None:
            self._move(self._part, steps, note)
            if self._plain_line_is_due(self._part):
                self._last = time.monotonic()
                whole = self._whole.left() if self._whole is not None else ""
                done = f"{self._part.label}: {int(self._part.done)}/{self._part.total} {note}".rstrip()
                left = f"{self._whole.label} {whole}" if self._whole is not None and whole else ""
                self.say(", ".join(words for words in (done, self._part.left(), left) if words))

    def advance_whole(self, steps: float = 1) -> None:
        """Move the bar of everything."""
        if self._whole is not None:
            self._move(self._whole, steps, "")

    def _plain_line_is_due(self, count: _Count) -> bool:
        since = time.monotonic() - self._last
        return self._enabled and self._bars is None and count.done < count.total and since > _PLAIN_SECONDS

    def _started(self, label: str, total: int, done: int, before: _Count | None) -> _Count:
        count = _Count(label, total, done, done)
        if self._bars is not None:
            if before is not None and before.bar is not None:
                self._bars.remove_task(before.bar)
            count.bar = self._bars.add_task(escape(label), total=total, completed=done, note="")
        return count

    def _move(self, count: _Count, steps: float, note: str) -> None:
        count.done += steps
        if self._bars is not None and count.bar is not None:
            self._bars.update(count.bar, advance=steps, note=escape(note))

    def track(self, items: Iterable[T], label: str, total: int) -> Iterator[T]:
        """Iterate with a bar."""
        self.begin(label, total)
        for item in items:
            yield item
            self.advance()


class Part(Progress):
    """One step of a larger bar: what counts its own work moves that bar on, by one step altogether."""

    def __init__(self, larger: Progress, note: str) -> None:
        """Begin.

        Args:
            larger: the larger bar, which has begun.
            note: what stands beside its label meanwhile.
        """
        super().__init__(enabled=False)
        self._larger, self._note, self._total = larger, note, 0

    def say(self, text: str) -> None:
        """Print a line that stays."""
        self._larger.say(text)

    def begin(self, label: str, total: int, done: int = 0) -> None:
        """Begin to count; nothing is drawn."""
        self._total = total

    def advance(self, note: str = "", steps: float = 1) -> None:
        """Move the larger bar."""
        self._larger.advance(self._note, steps / max(1, self._total))


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
