"""Write predictions to files: annotated images, and one JSON line per image."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from zoo.errors import InputError
from zoo.system.files import draft_folder, refuse_others
from zoo.system.prefetch import Window
from zoo.task.answers import Prediction

LINES = "predictions.jsonl"
Answer = dict[str, Any]


def write_predictions(
    predictions: Iterable[Prediction],
    out: Path | None,
    show: Callable[[Answer], None] | None = None,
    keep: bool = False,
    waiting: int = 4,
    hub: Mapping[str, str] | None = None,
) -> list[Answer]:
    """Write predictions to files. Images are drawn and files written in a background thread. A generator is always closed at the end.

    Args:
        predictions: predictions, such as those yielded by `zoo.predict`.
        out: folder for the annotated images and `predictions.jsonl`, created atomically; None to write no files.
        show: callback that receives each prediction as a JSON-serialisable dict.
        keep: whether to return these dicts; otherwise the returned list is empty.
        waiting: maximum number of predictions, each with its image, in the write queue. It limits memory use.
        hub: repository and commit of the model, which are added to each prediction; None for a model that isn't from the Hub.

    Raises:
        InputError: `out` contains files other than earlier predictions.
    """
    kept: list[Answer] = []
    origin = {} if hub is None else {"hub": dict(hub)}

    def take(answer: Answer) -> None:
        if show is not None:
            show(answer)
        if keep:
            kept.append(answer)

    with ExitStack() as stack:
        if isinstance(predictions, Generator):
            stack.enter_context(closing(predictions))
        if out is None:
            for prediction in predictions:
                take(prediction.to_dict() | origin)
            return kept
        _refuse_others(out)
        draft = stack.enter_context(draft_folder(out, LINES))
        lines = stack.enter_context((draft / LINES).open("w", encoding="utf-8"))
        writing = stack.enter_context(Window[None](1))
        names: set[str] = set()
        for prediction in predictions:
            answer = prediction.to_dict() | origin
            answer["drawn"] = _free_name(prediction.key, names)
            writing.put(partial(_write, prediction, draft / answer["drawn"], json.dumps(answer) + "\n", lines))
            while len(writing) > waiting:
                writing.take()
            take(answer)
        while len(writing):
            writing.take()
    return kept


def _refuse_others(out: Path) -> None:
    """Raise an `InputError` if a folder of earlier predictions also contains other files, because they would be lost."""
    path = out / LINES
    if not path.is_file():
        return
    try:
        drawn = {json.loads(line)["drawn"] for line in path.read_text(encoding="utf-8").splitlines()}
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is not a file of earlier predictions and won't be overwritten; choose another folder") from error
    refuse_others(out, {LINES, *drawn})


def _write(prediction: Prediction, drawn: Path, line: str, lines: TextIO) -> None:
    prediction.plot().convert("RGB").save(drawn, quality=92)
    lines.write(line)


def _free_name(key: str, taken: set[str]) -> str:
    """Return an unused file name for the annotated image. It is the name of the input image, with a number appended if necessary."""
    frame = re.fullmatch(r"(.+)#(\d+)", key)  # a video frame
    stem = Path(key).stem if frame is None else f"{Path(frame[1]).stem}-{int(frame[2]):06d}"
    stem = "".join(sign if sign.isalnum() or sign in "-_." else "_" for sign in stem) or "picture"
    name, number = f"{stem}.jpg", 1
    while name in taken:
        number += 1
        name = f"{stem}-{number}.jpg"
    taken.add(name)
    return name
