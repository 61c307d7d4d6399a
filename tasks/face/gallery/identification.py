"""Result of identifying a face in a gallery."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from zoo.tasks.face.embedding.distances import decide
from zoo.tasks.face.gallery.store import Match

Decision = Literal["known", "unknown", "undecided"]
_ALIKE = 1e-6  # distances that differ by less are tied, because rounding in the network causes such differences


@dataclass(frozen=True)
class Identification:
    """Enrolled people nearest to a face, and the decision about its identity.

    Attributes:
        matches: nearest face of each of the nearest people, nearest first.
        threshold: largest distance at which two faces count as the same person; None if unknown.
        tied: names of the people at the smallest distance if there are several; otherwise empty.
    """

    matches: tuple[Match, ...]
    threshold: float | None
    tied: tuple[str, ...] = ()

    @property
    def enrolled(self) -> bool:
        """Whether the face belongs to an enrolled person: the smallest distance is below the undecided band (see `distances.decide`).

        If several people are tied, the face belongs to one of them.
        """
        return bool(self.matches) and self.threshold is not None and decide(self.matches[0].distance, self.threshold)[0] == "same"

    @property
    def decision(self) -> Decision:
        """Decision about the identity of the face.

        "known" if the smallest distance is below the undecided band around the threshold; "unknown" if it is above the band, or if the
        gallery is empty; "undecided" if it is within the band, if there is no threshold, or if several people are tied below the band.
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
        """Name of the person; None unless the decision is "known"."""
        return self.matches[0].name if self.decision == "known" else None

    def to_dict(self) -> dict[str, Any]:
        """Return the identification as a JSON-ready dict."""
        return {
            "name": self.name,
            "decision": self.decision,
            "threshold": self.threshold,
            "tied": list(self.tied),
            "matches": [{"name": match.name, "distance": match.distance, "photo": match.photo} for match in self.matches],
        }


def tied(matches: Sequence[Match]) -> tuple[str, ...]:
    """Return the names of the people at the smallest distance if there are several; otherwise an empty tuple."""
    alike = tuple(match.name for match in matches if match.distance <= matches[0].distance + _ALIKE)
    return alike if len(alike) > 1 else ()
