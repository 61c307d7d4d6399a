"""What a gallery answers when it is asked whose face it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from zoo.tasks.face.gallery.rows import Match

Decision = Literal["known", "unknown", "undecided"]


@dataclass(frozen=True)
class Identification:
    """Whose face it is, of those enrolled.

    Attributes:
        matches: the nearest face of the nearest people, nearest first.
        threshold: the largest distance at which two faces are taken for one person; None where the model has none.
    """

    matches: tuple[Match, ...]
    threshold: float | None

    @property
    def decision(self) -> Decision:
        """Whether it is somebody: "known" within the threshold, "unknown" beyond it or in an empty gallery, "undecided" without one."""
        if not self.matches:
            return "unknown"
        if self.threshold is None:
            return "undecided"
        return "known" if self.matches[0].distance <= self.threshold else "unknown"

    @property
    def name(self) -> str | None:
        """Who it is; None where that is not known."""
        return self.matches[0].name if self.decision == "known" else None

    def to_dict(self) -> dict[str, Any]:
        """Return the answer, JSON-ready."""
        return {
            "name": self.name,
            "decision": self.decision,
            "threshold": self.threshold,
            "matches": [{"name": match.name, "distance": match.distance, "photo": match.photo} for match in self.matches],
        }
