"""Galleries in `zoo serve`: the routes /v1/galleries/{name}/identify, enrol, forget and people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, ClassVar, cast

from zoo.errors import InputError
from zoo.serving.services import Action
from zoo.tasks.face.gallery.gallery import LIMITS, Gallery
from zoo.tasks.face.gallery.named import NamedFaces
from zoo.tasks.face.prediction.faces import Faces

if TYPE_CHECKING:
    from zoo.models.model import Model
    from zoo.task.answers import Prediction

_NAME = "name of the person"


class GalleryService:
    """Service for one gallery of faces. Of a model with several heads, it uses the only face head."""

    actions: ClassVar[Mapping[str, Action]] = {
        "identify": Action(
            "Identify the faces in pictures",
            True,
            {"top": "number of nearest people for each face, 5 by default", "threshold": "largest distance of the same person"},
        ),
        "enrol": Action(
            "Enrol a person from pictures",
            True,
            {
                "name": _NAME,
                "add": "true: add pictures to a person who is enrolled",
                "force": "true: accept pictures of low quality, or of another person",
            },
        ),
        "forget": Action("Delete a person and all their faces", False, {"name": _NAME}),
        "people": Action("List the enrolled people", False, {}, "GET"),
    }

    def __init__(self, place: str, model: Model) -> None:
        """Set the gallery and the model.

        Raises:
            InputError: the location is invalid, or the model doesn't have exactly one face head.
        """
        heads = [name for name, head in model.config.heads.items() if head.task == "face"]
        if len(heads) != 1:
            raise InputError(
                f"--gallery {place}: the model has {len(heads)} face heads; expected a face model, or a model with one face head"
            )
        self._head = heads[0]
        self._gallery = Gallery(place, model.view(heads[0]))

    def run(self, action: str, predictions: Sequence[Prediction], values: Mapping[str, str]) -> dict[str, Any]:
        """Run an action, and return its result in the form of `zoo faces --json`.

        Raises:
            InputError: a parameter is invalid, or the gallery refuses the request, for example because a person isn't enrolled.
        """
        photos = [cast(Faces, each if isinstance(each, Faces) else cast(Any, each)[self._head]) for each in predictions]
        result: dict[str, Any] = getattr(self, f"_{action}")(photos, values)
        return result

    def _identify(self, photos: Sequence[Faces], values: Mapping[str, str]) -> dict[str, Any]:
        top, threshold = int(_number("top", values, 5)), values.get("threshold")
        limit = None if threshold is None else _number("threshold", values, 0)
        about = self._gallery.model
        named = [NamedFaces(photo, self._gallery.identify(photo, top=top, threshold=limit)).to_dict() for photo in photos]
        return {"model": str(about), "distance": about.distance, "pictures": named}

    def _enrol(self, photos: Sequence[Faces], values: Mapping[str, str]) -> dict[str, Any]:
        name, limits = _name(values), None if _flag("force", values) else LIMITS
        count = self._gallery.enroll(name, photos, quality=limits, add=_flag("add", values))
        return {"name": name, "enrolled": count, "faces": len(self._gallery)}

    def _forget(self, photos: Sequence[Faces], values: Mapping[str, str]) -> dict[str, Any]:
        name = _name(values)
        return {"name": name, "forgotten": self._gallery.forget(name), "faces": len(self._gallery)}

    def _people(self, photos: Sequence[Faces], values: Mapping[str, str]) -> dict[str, Any]:
        people = self._gallery.people() if len(self._gallery) else []
        return {"people": [asdict(person) for person in people]}


def _name(values: Mapping[str, str]) -> str:
    if "name" not in values:
        raise InputError("name is missing; expected the name of the person")
    return values["name"]


def _number(name: str, values: Mapping[str, str], default: float) -> float:
    text = values.get(name, str(default))
    try:
        return float(text)
    except ValueError:
        raise InputError(f"{name} is {text[:100]!r}; expected a number") from None


def _flag(name: str, values: Mapping[str, str]) -> bool:
    text = values.get(name, "false").lower()
    if text not in ("true", "false", "1", "0"):
        raise InputError(f"{name} is {text[:100]!r}; expected true or false")
    return text in ("true", "1")
