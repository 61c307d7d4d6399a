"""What the commands of `zoo faces` need torch for: loading the face model, and detecting and embedding the faces in images."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import cast

from zoo.errors import Fault, InputError
from zoo.models.archive import load
from zoo.models.builder import build
from zoo.models.model import Model
from zoo.prediction.predict import predict
from zoo.system.precision import AskedPrecision
from zoo.system.progress import Progress
from zoo.tasks.face.commands.arguments import GalleryFlags
from zoo.tasks.face.gallery import Gallery
from zoo.tasks.face.gallery.location import default_place
from zoo.tasks.face.prediction.faces import Faces


def open_gallery(flags: GalleryFlags, progress: Progress) -> tuple[Gallery, Model]:
    """Open the gallery, and return it and the face model."""
    model = embedder(flags.model, flags.engine, flags.precision, progress.say)
    return Gallery(flags.gallery or default_place(), model), model


def look(
    model: Model, sources: Sequence[Path], detector: str | None, which: str, skipped: list[Fault] | None, progress: Progress
) -> Iterator[Faces]:
    """Yield the embedded faces of each image, in the order of the sources.

    Unreadable images are appended to `skipped`; if that is None, the first one raises an `ImageError`.
    """
    found = predict(
        model,
        sources[0] if len(sources) == 1 else list(sources),
        detector=detector,
        faces=which,
        on_error="raise" if skipped is None else "skip",
        skipped=skipped,
        progress=progress,
    )
    return (cast(Faces, photo) for photo in found)


def say_skipped(skipped: Sequence[Fault] | None) -> None:
    """Print the skipped images to standard error."""
    for fault in skipped or ():
        print(f"skipped: {fault}", file=sys.stderr)


def embedder(folder: Path | None, engine: str, precision: AskedPrecision, say: Callable[[str], None] | None = None) -> Model:
    """Return a saved face model, or the default one: dlib's ResNet-29 with its default weights."""
    model = build("dlib_resnet29", "face", weights="default", say=say) if folder is None else load(folder)
    if model.task != "face":
        raise InputError(f"{folder}: this is a {model.task} model; zoo faces requires a face model")
    if engine == "eager" and precision in ("auto", "fp32"):
        return model
    from zoo.compilation.compile import compile  # slow to import

    return compile(model, engine, precision, say=say)
