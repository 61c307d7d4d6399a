"""`zoo faces enroll`."""

from __future__ import annotations

from typing import Any

from zoo.cli.context import print_json, progress_of
from zoo.errors import InputError
from zoo.system.wording import counted
from zoo.tasks.face.commands.arguments import FacesEnrollFlags


def enroll(flags: FacesEnrollFlags) -> int:
    """Run the command and return its exit status.

    Raises:
        InputError: no photo is given, the name or a photo can't be enrolled, or the gallery can't be written; no face is enrolled then.
    """
    if not flags.photos:
        raise InputError("no photo: zoo faces enroll NAME PHOTO […]")
    from zoo.tasks.face.gallery.gallery import LIMITS  # after --help
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
