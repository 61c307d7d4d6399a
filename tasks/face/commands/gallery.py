"""`zoo faces verify`, and the commands that use a gallery: enroll, list, forget, identify and cluster.

Modules that import torch are imported late, because it takes seconds. Lists and mistakes in the arguments are therefore shown at once.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from zoo.cli.context import print_json, progress_of
from zoo.errors import Fault, InputError
from zoo.report.sheet import Seen, page
from zoo.system.files import write_text
from zoo.system.wording import counted
from zoo.tasks.face.commands import arguments
from zoo.tasks.face.gallery import Gallery
from zoo.tasks.face.gallery.answers import Groups, Place
from zoo.tasks.face.gallery.enrolment import check_name
from zoo.tasks.face.gallery.gallery import LIMITS
from zoo.tasks.face.gallery.location import default_place
from zoo.tasks.face.gallery.named import NamedFaces
from zoo.tasks.face.prediction.faces import Faces

if TYPE_CHECKING:
    from zoo.data.dataset import OnError
    from zoo.models.model import Model
    from zoo.system.precision import AskedPrecision
    from zoo.system.progress import Progress

_QUALITY = 80  # JPEG quality of the face crops on the page of `cluster`


def verify(flags: arguments.FacesVerifyFlags) -> int:
    """Run the command and return its exit status."""
    from zoo.tasks.face.verification.verify import verify as compare

    model = embedder(flags.model, flags.engine, flags.precision)
    found = compare(model, flags.a, flags.b, threshold=flags.threshold, detector=flags.detector, faces=flags.faces)
    if flags.json:
        print_json(asdict(found) | origin(model))
        return 0
    low, high = found.undecided
    print(f"{found.answer}: {found.metric} distance {found.distance:.3f}, threshold {found.threshold:g} (source: {found.threshold_from})")
    print(f"below {low:.3g}: same person; above {high:.3g}: different people; in between: undecided")
    return 0


def enroll(flags: arguments.FacesEnrollFlags) -> int:
    """Run the command and return its exit status."""
    if not flags.photos:
        raise InputError("no photos given; usage: zoo faces enroll NAME PHOTO…")
    name = check_name(flags.name)
    with progress_of(flags.at.quiet) as progress:
        gallery, found, model = open_gallery(flags.at, flags.photos, "all" if flags.faces == "one" else flags.faces, None, progress)
        photos = list(found)
    with gallery:
        count = gallery.enroll(name, photos, quality=None if flags.force else LIMITS, add=flags.add)
        summary: dict[str, Any] = {"gallery": gallery.place, "name": name, "enrolled": count, "faces": len(gallery)}
        if flags.at.json:
            print_json({**summary, "photos": [face.to_dict() for face in gallery.faces(name)[-count:]], **origin(model)})
        else:
            holds = counted(summary["faces"], "face")
            print(f"{name}: {counted(count, 'photo')} enrolled in gallery {gallery.place}, which now holds {holds}")
    return 0


def list_people(flags: arguments.FacesListFlags) -> int:
    """Run the command and return its exit status."""
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


def forget(flags: arguments.FacesForgetFlags) -> int:
    """Run the command and return its exit status."""
    with Gallery(flags.gallery or default_place()) as gallery:
        count = gallery.forget(flags.name)
        if flags.json:
            print_json({"gallery": gallery.place, "name": flags.name, "forgotten": count, "faces": len(gallery)})
        else:
            deleted = counted(count, "face")
            print(f"{flags.name}: {deleted} deleted from gallery {gallery.place}; copies of the gallery must be deleted separately")
    return 0


def identify(flags: arguments.FacesIdentifyFlags) -> int:
    """Run the command and return its exit status."""
    if not flags.sources:
        raise InputError("no sources given; usage: zoo faces identify SOURCE… (images, folders or videos)")
    from zoo.prediction.output import write_predictions

    skipped: list[Fault] | None = [] if flags.skip_bad else None
    with progress_of(flags.at.quiet) as progress:
        gallery, photos, model = open_gallery(flags.at, flags.sources, "all", skipped, progress)
        with gallery:
            about = gallery.model  # reports a missing gallery before any image is processed
            named = (NamedFaces(photo, gallery.identify(photo, top=flags.top, threshold=flags.threshold)) for photo in photos)
            answers = write_predictions(named, flags.out, None if flags.at.json else _show, keep=flags.at.json)
    say_skipped(skipped)
    if flags.at.json:
        left_out = [fault.to_dict() for fault in skipped or ()]
        described = {"gallery": gallery.place, "model": str(about), "distance": about.distance, **origin(model)}
        print_json({**described, "pictures": answers, "skipped": left_out})
    return 0


def _show(answer: dict[str, Any]) -> None:
    if not answer["faces"]:
        print(f"{answer['key']}: no face was found")
    for number, face in enumerate(answer["faces"], start=1):
        left, top, right, bottom = face["box"]
        which = f", face {number} at {(left + right) / 2:.0f},{(top + bottom) / 2:.0f}" if len(answer["faces"]) > 1 else ""
        near = ", ".join(f"{match['name']} {match['distance']:.3f}" for match in face["matches"])
        between = f" between {' and '.join(face['tied'])}" if face["tied"] and face["decision"] == "undecided" else ""
        print(f"{answer['key']}{which}: {face['name'] or face['decision']}{between} (nearest: {near or 'no person is enrolled'})")


def cluster(flags: arguments.FacesClusterFlags) -> int:
    """Run the command and return its exit status."""
    if not flags.sources:
        raise InputError("no sources given; usage: zoo faces cluster SOURCE…")
    if flags.out is not None and flags.out.exists():
        raise InputError(f"--out is {flags.out}, which already exists and is not overwritten; choose another file")
    skipped: list[Fault] | None = [] if flags.skip_bad else None
    with progress_of(flags.at.quiet) as progress:
        gallery, found, model = open_gallery(flags.at, flags.sources, "all", skipped, progress)
        photos = list(found)
    with gallery:
        groups = gallery.cluster(photos, threshold=flags.threshold)
    say_skipped(skipped)
    total = sum(map(len, photos))
    known = total - len(groups.alone) - sum(map(len, groups.groups))
    if flags.out is not None:
        write_text(flags.out, contact_sheet(photos, groups), 0o600)  # readable only by its owner, like a gallery
    if flags.at.json:
        people = [[_face(photos, place) for place in places] for places in groups.groups]
        answer = {"groups": people, "alone": [_face(photos, place) for place in groups.alone], "known": known}
        left_out = [fault.to_dict() for fault in skipped or ()]
        print_json({**answer, "faces": total, "pictures": len(photos), "skipped": left_out, **origin(model)})
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


def embedder(folder: Path | None, engine: str, precision: AskedPrecision, say: Callable[[str], None] | None = None) -> Model:
    """Return a saved face model, or the default one: dlib's ResNet-29 with its default weights.

    Of a model with several heads, it is the view of the only face head.
    """
    from zoo.models.archive import load
    from zoo.models.builder import build

    model = build("dlib_resnet29", "face", weights="default", say=say) if folder is None else load(folder)
    faces = [name for name, head in model.config.heads.items() if head.task == "face"]
    if len(faces) != 1:
        if not model.is_joint:
            raise InputError(f"{folder}: this is a {model.task} model; zoo faces requires a face model")
        raise InputError(f"{folder}: this model has {len(faces)} face heads; zoo faces requires one; take one out with zoo.split")
    model = model.view(faces[0])
    if engine == "eager" and precision in ("auto", "fp32"):
        return model
    from zoo.compilation.compile import compile

    return compile(model, engine, precision, say=say)


def open_gallery(
    flags: arguments.GalleryFlags, sources: Sequence[Path], faces: str, skipped: list[Fault] | None, progress: Progress
) -> tuple[Gallery, Iterator[Faces], Model]:
    """Open the gallery, and return it, an iterator of the embedded faces of each image, in the order of the sources, and the model.

    Unreadable images are appended to `skipped`; if that is None, the first one raises an `ImageError`.
    """
    from zoo.prediction.predict import predict

    model = embedder(flags.model, flags.engine, flags.precision, progress.say)
    gallery = Gallery(flags.gallery or default_place(), model)
    source = sources[0] if len(sources) == 1 else list(sources)
    on_error: OnError = "raise" if skipped is None else "skip"
    found = predict(model, source, detector=flags.detector, faces=faces, on_error=on_error, skipped=skipped, progress=progress)
    return gallery, (cast(Faces, photo) for photo in found), model


def origin(model: Model) -> dict[str, Any]:
    """Return the entry of a result that states the commit of a model from the Hub; empty for any other model."""
    return {} if model.hub is None else {"hub": model.hub}


def say_skipped(skipped: Sequence[Fault] | None) -> None:
    """Print the skipped images to standard error."""
    for fault in skipped or ():
        print(f"skipped: {fault}", file=sys.stderr)
