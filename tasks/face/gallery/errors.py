"""Errors of galleries and of enrolment."""

from __future__ import annotations

from collections.abc import Sequence

from zoo.errors import InputError


class GalleryError(InputError):
    """A gallery can't be opened, read or changed. The message names the gallery, and its content is unchanged."""


class ModelMismatchError(GalleryError):
    """Embeddings come from a different model from the gallery's."""


class MissingGalleryError(GalleryError):
    """There is no gallery yet."""

    def __init__(self, place: object) -> None:
        super().__init__(f"gallery {place}: there is no gallery yet; enrol a person first, or check the path or address")


class NameTakenError(GalleryError):
    """A person with this name is already enrolled."""

    def __init__(self, place: str, name: str) -> None:
        super().__init__(f"gallery {place}: {name!r} is already enrolled; choose another name, or add these photos to that person (--add)")


class UnknownPersonError(GalleryError):
    """No person with this name is enrolled."""

    def __init__(self, place: str, name: str) -> None:
        super().__init__(f"gallery {place}: no person named {name!r} is enrolled; zoo faces list shows the names")


class QualityError(InputError):
    """Photos don't meet the quality limits or show a different person. No photo was enrolled."""

    def __init__(self, name: str, problems: Sequence[str]) -> None:
        """Build the message from the person's name and the problems, each of which names a photo and a reason."""
        self.problems = tuple(problems)
        listed = "\n".join(f"  {problem}" for problem in self.problems)
        super().__init__(
            f"{name!r} is not enrolled, because these photos would cause recognition errors:\n{listed}\n"
            "Use better photos, or enrol them anyway (--force)"
        )
