"""What the verbs of a gallery share: the gallery with its model, and the faces of pictures."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast

from zoo.errors import Fault
from zoo.model import Model
from zoo.prediction import predict
from zoo.progress import Progress
from zoo.tasks.face.commands.arguments import GalleryFlags
from zoo.tasks.face.commands.embedder import embedder
from zoo.tasks.face.gallery import Gallery
from zoo.tasks.face.gallery.places import default_place
from zoo.tasks.face.predictions import Faces


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
