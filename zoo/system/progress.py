"""Progress display on standard error: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeVar

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

T = TypeVar("T")
_PLAIN_SECONDS = 15.0  # minimum time between two plain lines of the same bar


@dataclass
class _Count:
    """State of a progress bar with `total` steps (0 if unknown). `first` steps were already finished when the bar was created."""

    label: str
    total: int
    done: float
    first: float
    start: float = field(default_factory=lambda: time.monotonic())
    bar: TaskID | None = None

    def left(self) -> str:
        """Return the remaining time at the current pace, such as "0:01:00 left"; "" if it is unknown."""
        gone, made = time.monotonic() - self.start, self.done - self.first
        seconds = round(gone / made * (self.total - self.done)) if made > 0 else 0
        return f"{timedelta(seconds=seconds)} left" if seconds > 0 else ""


class Progress:
    """Progress display: bars on a terminal, occasional lines elsewhere, and nothing if `enabled` is False.

    Work that consists of several phases, such as the epochs of a training run, can have a second bar above for the overall progress.
    """

    def __init__(self, enabled: bool = True) -> None:
        """Create a display on standard error; drawing starts when the context is entered."""
        self._console = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)
        self._enabled = enabled
        self._bars: RichProgress | None = None
        self._part: _Count | None = None
        self._whole: _Count | None = None
        self._last = 0.0

    def __enter__(self) -> Progress:
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

    def __exit__(self, *error: object) -> None:
        if self._bars is not None:
            self._bars.stop()
            self._bars = None

    def say(self, text: str) -> None:
        """Print a permanent line."""
        if self._enabled:
            self._console.print(text, markup=False)

    def begin_whole(self, label: str, total: int, done: int = 0) -> None:
        """Start the overall bar. The bars of the individual phases appear below it."""
        self._whole = self._started(label, total, done, self._whole)

    def begin(self, label: str, total: int, done: int = 0) -> None:
        """Start a bar with `total` steps; it replaces the previous bar."""
        self._part = self._started(label, total, done, self._part)
        self._last = time.monotonic()

    def advance(self, note: str = "", steps: float = 1) -> None:
        """Advance the current bar."""
        part = self._part
        if part is None:
            return
        self._move(part, steps, note)
        if self._enabled and self._bars is None and part.done < part.total and time.monotonic() - self._last > _PLAIN_SECONDS:
            self._last = time.monotonic()
            done = f"{part.label}: {int(part.done)}/{part.total} {note}".rstrip()
            whole = self._whole.left() if self._whole is not None else ""
            left = f"{self._whole.label} {whole}" if self._whole is not None and whole else ""
            self.say(", ".join(words for words in (done, part.left(), left) if words))

    def advance_whole(self) -> None:
        """Advance the overall bar by one step."""
        if self._whole is not None:
            self._move(self._whole, 1, "")

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
        """Yield items while a bar shows the progress."""
        self.begin(label, total)
        for item in items:
            yield item
            self.advance()


class Part(Progress):
    """Progress within a single step of a larger bar.

    All steps of this display together advance the larger bar by one step. The larger bar shows `note` in the meantime.
    """

    def __init__(self, larger: Progress, note: str) -> None:
        super().__init__(enabled=False)
        self._larger, self._note, self._total = larger, note, 0

    def say(self, text: str) -> None:
        """Print a permanent line."""
        self._larger.say(text)

    def begin(self, label: str, total: int, done: int = 0) -> None:
        """Start counting; nothing is drawn."""
        self._total = total

    def advance(self, note: str = "", steps: float = 1) -> None:
        """Advance the larger bar."""
        self._larger.advance(self._note, steps / max(1, self._total))
