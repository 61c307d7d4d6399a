"""`zoo faces enroll`, `zoo faces list` and `zoo faces forget`, which manage the people in a gallery."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from zoo.cli.context import print_json, progress_of
from zoo.errors import InputError
from zoo.system.wording import counted
from zoo.tasks.face.commands.arguments import FacesEnrollFlags, FacesForgetFlags, FacesListFlags


def enroll(flags: FacesEnrollFlags) -> int:
    """Run the command and return its exit status."""
    if not flags.photos:
        raise InputError("no photos given; usage: zoo faces enroll NAME PHOTO…")
    from zoo.tasks.face.gallery.gallery import LIMITS  # slow to import, not needed for --help
    from zoo.tasks.face.gallery.names import check_name

    name = check_name(flags.name)
    from zoo.tasks.face.commands.photos import look, open_gallery  # imports torch, which takes seconds

    with progress_of(flags.at.quiet) as progress:
        gallery, model = open_gallery(flags.at, progress)
        photos = list(look(model, flags.photos, flags.at.detector, "all" if flags.faces == "one" else flags.faces, None, progress))
    with gallery:
        count = gallery.enroll(name, photos, quality=None if flags.force else LIMITS, add=flags.add)
        summary: dict[str, Any] = {"gallery": gallery.place, "name": name, "enrolled": count, "faces": len(gallery)}
        if flags.at.json:
            print_json({**summary, "photos": [face.to_dict() for face in gallery.faces(name)[-count:]]})
        else:
            holds = counted(summary["faces"], "face")
            print(f"{name}: {counted(count, 'photo')} enrolled in gallery {gallery.place}, which now holds {holds}")
    return 0


def list_people(flags: FacesListFlags) -> int:
    """Run the command and return its exit status."""
    from zoo.tasks.face.gallery import Gallery  # after --help
    from zoo.tasks.face.gallery.location import default_place

    with Gallery(flags.gallery or default_place()) as gallery:
        people, model = gallery.people(), gallery.model
        if flags.json:
            print_json({"gallery": gallery.place, "model": asdict(model), "people": [asdict(person) for person in people]})
            return 0
        for person in people:
            print(f"{person.name}\t{counted(person.faces, 'face')}\tsince {person.enrolled}")
        threshold = "no threshold" if model.threshold is None else f"threshold {model.threshold:g}"
        print(
            f"{counted(len(people), 'person', 'people')} in gallery {gallery.place}; model {model}, {model.distance} distance, {threshold}"
        )
    return 0


def forget(flags: FacesForgetFlags) -> int:
    """Run the command and return its exit status."""
    from zoo.tasks.face.gallery import Gallery  # after --help
    from zoo.tasks.face.gallery.location import default_place

    with Gallery(flags.gallery or default_place()) as gallery:
        count = gallery.forget(flags.name)
        if flags.json:
            print_json({"gallery": gallery.place, "name": flags.name, "forgotten": count, "faces": len(gallery)})
        else:
            deleted = counted(count, "face")
            print(f"{flags.name}: {deleted} deleted from gallery {gallery.place}; copies of the gallery must be deleted separately")
    return 0
