"""A progress display for tests: it shows nothing, and keeps what is said."""

from __future__ import annotations

from zoo.system.progress import Progress


class Listening(Progress):
    """Keeps the lines."""

    def __init__(self) -> None:
        """Draw nothing."""
        super().__init__(enabled=False)
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        """Keep a line."""
        self.lines.append(text)
