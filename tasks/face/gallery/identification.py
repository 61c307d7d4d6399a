"""What a gallery answers when it is asked whose face it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from zoo.tasks.face.gallery.store import Match
from zoo.tasks.face.verification.decision import decide

Decision = Literal["known", "unknown", "undecided"]
_ALIKE = 1e-6  # distances that differ by less, which a network's rounding may do, say nothing of who is nearer


@dataclass(frozen=True)
class Identification:
    """Whose face it is, of those enrolled.

    Attributes:
        matches: the nearest face of the nearest people, nearest first.
        threshold: the largest distance at which two faces are taken for one person; None where the model has none.
        tied: names of several people who are nearest alike; empty where one is.
    """

    matches: tuple[Match, ...]
    threshold: float | None
    tied: tuple[str, ...] = ()

    @property
    def enrolled(self) -> bool:
        """Whether it is surely one of those enrolled, whoever of them: below the band around the threshold (see `band.decide`)."""
        return bool(self.matches) and self.threshold is not None and decide(self.matches[0].distance, self.threshold)[0] == "same"

    @property
    def decision(self) -> Decision:
        """Whether it is somebody.

        "known" below the band around the threshold, "unknown" above it or in an empty gallery; "undecided" within it, without a
        threshold, or where several people are nearest alike.
        """
        if not self.matches:
            return "unknown"
        if self.enrolled:
            return "undecided" if self.tied else "known"
        if self.threshold is None:
            return "undecided"
        return "unknown" if decide(self.matches[0].distance, self.threshold)[0] == "different" else "undecided"

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
            "tied": list(self.tied),
            "matches": [{"name": match.name, "distance": match.distance, "photo": match.photo} for match in self.matches],
        }


def tied(matches: Sequence[Match]) -> tuple[str, ...]:
    """Return the names of the people who are nearest alike; nothing where one is."""
    alike = tuple(match.name for match in matches if match.distance <= matches[0].distance + _ALIKE)
    return alike if len(alike) > 1 else ()
