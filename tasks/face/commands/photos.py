"""What the verbs of a gallery share: the gallery with its model, and the faces of pictures."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal, cast

from zoo.errors import Fault, InputError
from zoo.models.archive import load
from zoo.models.builder import build
from zoo.models.model import Model
from zoo.prediction.predict import predict
from zoo.system.progress import Progress
from zoo.tasks.face.commands.arguments import GalleryFlags
from zoo.tasks.face.gallery import Gallery
from zoo.tasks.face.gallery.location import default_place
from zoo.tasks.face.prediction.faces import Faces


def open_gallery(flags: GalleryFlags, progress: Progress) -> tuple[Gallery, Model]:
    """Return the gallery, and the model that embeds for it.

    Raises:
        InputError: no such model, or a place that can't be a gallery.
        WeightsError: the default weights aren't installed.
    """
    model = embedder(flags.model, flags.engine, flags.precision, progress.say)
    return Gallery(flags.gallery or default_place(), model), model


def look(
    model: Model, sources: Sequence[Path], detector: str | None, which: str, skipped: list[Fault] | None, progress: Progress
) -> Iterator[Faces]:
    """Yield the faces of pictures, in their order.

    Args:
        model: for faces.
        sources: as `zoo.predict` takes them.
        detector: as for `zoo.predict`.
        which: "all", "central" or "largest".
        skipped: receives pictures that can't be read; None to stop at the first.
        progress: where the bar is drawn.
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
    """Say on standard error what was left out."""
    for fault in skipped or ():
        print(f"left out: {fault}", file=sys.stderr)


Precision = Literal["auto", "fp32", "bf16"]


DEFAULT = "dlib_resnet29"


def embedder(folder: Path | None, engine: str = "eager", precision: Precision = "auto", say: Callable[[str], None] | None = None) -> Model:
    """Return a saved face model, or the default one: dlib's ResNet-29 with its own weights.

    Args:
        folder: a run's or saved model's; None for the default.
        engine: what computes it; "eager" for the model as it is.
        precision: of its matrix work; "auto" is fp32 where the engine is eager.
        say: told what building says.

    Raises:
        InputError: no saved model there, or one for another task; an engine that isn't there.
        WeightsError: the default weights aren't installed; with the extra to install.
    """
    model = build(DEFAULT, "face", weights="default", say=say) if folder is None else load(folder)
    if model.task != "face":
        raise InputError(f"{folder}: the model is for the task {model.task}; zoo faces needs one for face")
    if engine == "eager" and precision in ("auto", "fp32"):
        return model
    from zoo.compilation.compile import compile  # brings the evaluation along

    return compile(model, engine, precision, say=say)
