"""Predictions as files: the drawn pictures and one JSON line per input."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from zoo.errors import InputError
from zoo.files import draft_folder, refuse_others
from zoo.task import Prediction

LINES = "predictions.jsonl"
Answer = dict[str, Any]


def write_predictions(
    predictions: Iterable[Prediction], out: Path | None, show: Callable[[Answer], None] | None = None, keep: bool = False
) -> list[Answer]:
    """Go through predictions, writing and showing each.

    Args:
        predictions: what `zoo.predict` yields.
        out: a folder for the drawn pictures and `predictions.jsonl`; it appears whole or not at all. None to write nothing.
        show: called with each answer.
        keep: whether to return the answers.

    Raises:
        InputError: `out` holds something else.
    """
    kept: list[Answer] = []

    def take(answer: Answer) -> None:
        if show is not None:
            show(answer)
        if keep:
            kept.append(answer)

    if out is None:
        for prediction in predictions:
            take(prediction.to_dict())
        return kept
    if (out / LINES).is_file():
        refuse_others(out, {LINES, *_drawn(out / LINES)})
    with draft_folder(out, LINES) as draft, (draft / LINES).open("w", encoding="utf-8") as lines:
        names: set[str] = set()
        for prediction in predictions:
            answer = prediction.to_dict()
            answer["drawn"] = _free_name(prediction.key, names)
            prediction.plot().convert("RGB").save(draft / answer["drawn"], quality=92)
            lines.write(json.dumps(answer) + "\n")
            take(answer)
    return kept


def _drawn(lines: Path) -> set[str]:
    """Return the pictures that an older file of predictions names.

    Raises:
        InputError: it is none.
    """
    try:
        return {json.loads(line)["drawn"] for line in lines.read_text(encoding="utf-8").splitlines()}
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{lines} isn't a file of predictions; choose another folder, it will not be overwritten") from error


def _free_name(key: str, taken: set[str]) -> str:
    """Return a file name for the drawn picture: the input's own, numbered where two inputs share it."""
    frame = re.fullmatch(r"(.+)#(\d+)", key)  # of a video
    stem = Path(key).stem if frame is None else f"{Path(frame[1]).stem}-{int(frame[2]):06d}"
    stem = "".join(sign if sign.isalnum() or sign in "-_." else "_" for sign in stem) or "picture"
    name, number = f"{stem}.jpg", 1
    while name in taken:
        number += 1
        name = f"{stem}-{number}.jpg"
    taken.add(name)
    return name
