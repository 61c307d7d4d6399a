"""What is wrong with a gallery, or with what is to be enrolled there."""

from __future__ import annotations

from collections.abc import Sequence

from zoo.errors import InputError


class GalleryError(InputError):
    """A gallery can't be opened, read or changed; the message names it, and nothing in it has changed."""


class ModelMismatchError(GalleryError):
    """Embeddings of one model, and a gallery of another one's."""


class NameTakenError(GalleryError):
    """Somebody of that name is enrolled."""


def name_taken(place: str, name: str) -> NameTakenError:
    """Return what is said where somebody of a name is enrolled already."""
    return NameTakenError(f"gallery {place}: {name!r} is enrolled already; choose another name, or add these photos to it (--add)")


class UnknownPersonError(GalleryError):
    """Nobody of that name is enrolled."""


class QualityError(InputError):
    """Photos that are too bad to enrol, or show somebody else; nothing was enrolled.

    Attributes:
        problems: what is wrong, one line per photo and reason.
    """

    def __init__(self, name: str, problems: Sequence[str]) -> None:
        """Name the person, every photo and every reason."""
        self.problems = tuple(problems)
        listed = "\n".join(f"  {problem}" for problem in self.problems)
        super().__init__(
            f"{name!r} is not enrolled, for these photos would make mistakes later:\n{listed}\n"
            "Give better photos, or enrol them all the same (--force)"
        )
