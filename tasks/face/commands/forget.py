"""`zoo faces forget`."""

from __future__ import annotations

from zoo.cli.context import print_json
from zoo.system.wording import counted
from zoo.tasks.face.commands.arguments import FacesForgetFlags


def forget(flags: FacesForgetFlags) -> int:
    """Run the command and return its exit status.

    Raises:
        InputError: there is no gallery, no person of that name, or the gallery can't be written.
    """
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
