"""`zoo faces list`."""

from __future__ import annotations

from dataclasses import asdict

from zoo.cli.context import print_json
from zoo.system.wording import counted
from zoo.tasks.face.commands.arguments import FacesListFlags


def list_people(flags: FacesListFlags) -> int:
    """Run the command and return its exit status.

    Raises:
        InputError: there is no gallery, or it can't be read.
    """
    from zoo.tasks.face.gallery import Gallery  # after --help
    from zoo.tasks.face.gallery.location import default_place

    with Gallery(flags.gallery or default_place()) as gallery:
        people, model = gallery.people(), gallery.model
        if flags.json:
            print_json({"gallery": gallery.place, "model": model.to_dict(), "people": [asdict(person) for person in people]})
            return 0
        for person in people:
            print(f"{person.name}\t{counted(person.faces, 'face')}\tsince {person.enrolled}")
        threshold = "no threshold" if model.threshold is None else f"threshold {model.threshold:g}"
        print(
            f"{counted(len(people), 'person', 'people')} in gallery {gallery.place}; model {model}, {model.distance} distance, {threshold}"
        )
    return 0
