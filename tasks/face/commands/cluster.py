"""`zoo faces cluster`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from zoo.cli.context import print_json, progress_of
from zoo.errors import Fault, InputError
from zoo.report.sheet import Seen, page
from zoo.system.files import write_text
from zoo.system.wording import counted
from zoo.tasks.face.commands.arguments import FacesClusterFlags

if TYPE_CHECKING:
    from zoo.tasks.face.gallery.clustering import Groups, Place
    from zoo.tasks.face.prediction.faces import Faces

_QUALITY = 80  # JPEG quality of the face crops on the page


def cluster(flags: FacesClusterFlags) -> int:
    """Run the command and return its exit status."""
    if not flags.sources:
        raise InputError("no sources given; usage: zoo faces cluster SOURCE…")
    if flags.out is not None and flags.out.exists():
        raise InputError(f"--out is {flags.out}, which already exists and is not overwritten; choose another file")
    from zoo.tasks.face.commands.photos import look, open_gallery, say_skipped  # slow to import, not needed for --help

    skipped: list[Fault] | None = [] if flags.skip_bad else None
    with progress_of(flags.at.quiet) as progress:
        gallery, model = open_gallery(flags.at, progress)
        photos = list(look(model, flags.sources, flags.at.detector, "all", skipped, progress))
    with gallery:
        groups = gallery.cluster(photos, threshold=flags.threshold)
    say_skipped(skipped)
    total = sum(map(len, photos))
    known = total - len(groups.alone) - sum(map(len, groups.groups))
    if flags.out is not None:
        write_text(flags.out, contact_sheet(photos, groups), 0o600)  # readable only by its owner, like a gallery
    if flags.at.json:
        print_json(
            {
                "groups": [[_face(photos, place) for place in places] for places in groups.groups],
                "alone": [_face(photos, place) for place in groups.alone],
                "known": known,
                "faces": total,
                "pictures": len(photos),
                "skipped": [fault.to_dict() for fault in skipped or ()],
            }
        )
        return 0
    for number, places in enumerate(groups.groups, 1):
        print(f"group {number}: {counted(len(places), 'face')}: {', '.join(_named(photos, place) for place in places)}")
    for place in groups.alone:
        print(f"alone: {_named(photos, place)}")
    print(
        f"{counted(total, 'face')} in {counted(len(photos), 'image')}: {counted(len(groups.groups), 'group')}, "
        f"{len(groups.alone)} alone, {known} of enrolled people"
    )
    return 0


def contact_sheet(photos: Sequence[Faces], groups: Groups) -> str:
    """Return an HTML page with one row of faces for each group, followed by one row for each face that belongs to no group."""
    rows = [
        [Seen(photos[photo].key, _crop(photos[photo], face), (f"group {number}: {len(places)} faces",)) for photo, face in places]
        for number, places in enumerate(groups.groups, 1)
    ]
    rows += [[Seen(photos[photo].key, _crop(photos[photo], face), ("alone",))] for photo, face in groups.alone]
    return page(rows, f"{counted(len(groups.groups), 'group')}, {counted(len(groups.alone), 'face')} alone", (), _QUALITY)


def _crop(photo: Faces, face: int) -> Any:
    """Return the crop of a face: its box enlarged by a quarter on each side, clipped to the image."""
    height, width = photo.image.shape[:2]
    left, top, right, bottom = (float(side) for side in photo.boxes[face])
    x, y = (right - left) / 4, (bottom - top) / 4
    columns = np.clip([int(left - x), int(right + x)], 0, width)
    rows = np.clip([int(top - y), int(bottom + y)], 0, height)
    part = photo.image[rows[0] : rows[1], columns[0] : columns[1]]
    return part if part.size else photo.image


def _named(photos: Sequence[Faces], place: Place) -> str:
    photo, face = place
    return photos[photo].key if len(photos[photo]) == 1 else f"{photos[photo].key} (face {face + 1})"


def _face(photos: Sequence[Faces], place: Place) -> dict[str, Any]:
    photo, face = place
    return {"key": photos[photo].key, "face": face, "box": photos[photo].boxes[face].tolist()}
