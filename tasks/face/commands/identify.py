"""`zoo faces verify` and `zoo faces identify`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from zoo.cli.context import print_json, progress_of
from zoo.errors import Fault, InputError
from zoo.tasks.face.commands.arguments import FacesIdentifyFlags, FacesVerifyFlags

if TYPE_CHECKING:
    from PIL import Image

    from zoo.tasks.face.gallery import Identification
    from zoo.tasks.face.prediction.faces import Faces


def verify(flags: FacesVerifyFlags) -> int:
    """Run the command and return its exit status."""
    from zoo.tasks.face.commands.photos import embedder  # slow to import, not needed for --help
    from zoo.tasks.face.verification.verify import verify as compare

    model = embedder(flags.model, flags.engine, flags.precision)
    found = compare(model, flags.a, flags.b, threshold=flags.threshold, detector=flags.detector, faces=flags.faces)
    if flags.json:
        print_json(asdict(found))
        return 0
    low, high = found.undecided
    print(f"{found.answer}: {found.metric} distance {found.distance:.3f}, threshold {found.threshold:g} (source: {found.threshold_from})")
    print(f"below {low:.3g}: same person; above {high:.3g}: different people; in between: undecided")
    return 0


@dataclass(frozen=True, eq=False)
class NamedFaces:
    """The faces in an image and the result of identifying each of them."""

    faces: Faces
    answers: Sequence[Identification]

    @property
    def key(self) -> str:
        """Key of the image."""
        return self.faces.key

    def plot(self) -> Image.Image:
        """Return the image with boxes and names drawn on it."""
        from PIL import ImageDraw

        from zoo.images.drawing import enlargement, font, text_size

        picture = self.faces.plot()
        draw = ImageDraw.Draw(picture)
        height, width = self.faces.image.shape[:2]
        scale = enlargement((width, height))  # scale of the plot
        size = text_size((width * scale, height * scale))
        for box, answer in zip(self.faces.boxes * scale, self.answers, strict=True):
            place = (max(0.0, float(box[0])), max(0.0, float(box[1]) - size - 2))
            label = answer.name or answer.decision
            draw.rectangle(draw.textbbox(place, label, font=font(size)), fill=(24, 24, 32))
            draw.text(place, label, fill=(255, 255, 255) if answer.name else (190, 190, 190), font=font(size))
        return picture

    def to_dict(self) -> dict[str, Any]:
        """Return the key, boxes and identifications as JSON-compatible values, without the embeddings."""
        boxes = zip(self.faces.boxes, self.faces.scores, self.answers, strict=True)
        return {
            "key": self.key,
            "faces": [{"box": box.tolist(), "score": float(score), **answer.to_dict()} for box, score, answer in boxes],
        }


def identify(flags: FacesIdentifyFlags) -> int:
    """Run the command and return its exit status."""
    if not flags.sources:
        raise InputError("no sources given; usage: zoo faces identify SOURCE… (images, folders or videos)")
    from zoo.prediction.output import write_predictions  # slow to import, not needed for --help
    from zoo.tasks.face.commands.photos import look, open_gallery, say_skipped

    skipped: list[Fault] | None = [] if flags.skip_bad else None
    with progress_of(flags.at.quiet) as progress:
        gallery, model = open_gallery(flags.at, progress)
        with gallery:
            about = gallery.model  # reports a missing gallery before any image is processed
            photos = look(model, flags.sources, flags.at.detector, "all", skipped, progress)
            named = (NamedFaces(photo, gallery.identify(photo, top=flags.top, threshold=flags.threshold)) for photo in photos)
            answers = write_predictions(named, flags.out, None if flags.at.json else _show, keep=flags.at.json)
    say_skipped(skipped)
    if flags.at.json:
        left_out = [fault.to_dict() for fault in skipped or ()]
        print_json({"gallery": gallery.place, "model": str(about), "distance": about.distance, "pictures": answers, "skipped": left_out})
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
