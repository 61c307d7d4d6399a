"""A progress display for tests that shows nothing and records the messages."""

from __future__ import annotations

from zoo.system.progress import Progress


class Listening(Progress):
    """Records the messages."""

    def __init__(self) -> None:
        """Create a display that draws nothing."""
        super().__init__(enabled=False)
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        """Record a message."""
        self.lines.append(text)
