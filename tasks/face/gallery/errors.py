"""Errors of galleries and of enrolment."""

from __future__ import annotations

from collections.abc import Sequence

from zoo.errors import InputError


class GalleryError(InputError):
    """A gallery can't be opened, read or changed; the message names it, and its content is unchanged."""


class ModelMismatchError(GalleryError):
    """Embeddings come from another model than the gallery's."""


class NameTakenError(GalleryError):
    """A person of this name is already enrolled."""


def name_taken(place: str, name: str) -> NameTakenError:
    """Return the error for a name that is already enrolled."""
    return NameTakenError(f"gallery {place}: {name!r} is already enrolled; choose another name, or add these photos to that person (--add)")


class UnknownPersonError(GalleryError):
    """No person of this name is enrolled."""


class QualityError(InputError):
    """Photos are too bad to enrol, or show another person; nothing was enrolled."""

    def __init__(self, name: str, problems: Sequence[str]) -> None:
        """Build the message, which names the person, every photo and every reason."""
        self.problems = tuple(problems)
        listed = "\n".join(f"  {problem}" for problem in self.problems)
        super().__init__(
            f"{name!r} is not enrolled, because these photos would cause mistakes later:\n{listed}\n"
            "Use better photos, or enrol them anyway (--force)"
        )
