"""Where a model may be written to: an older one there is replaced, and nothing else is lost."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from zoo.errors import InputError
from zoo.files import check_replaceable, refuse_others

_MARKER = "model.json"
_WEIGHTS = "weights.safetensors"


def check_place(folder: Path, compiled: bool) -> None:
    """Refuse a place in which something would be lost.

    Args:
        folder: that a model is to be written to.
        compiled: whether it is a compiled one, from which no weights can be had.

    Raises:
        InputError: it is no folder, or it holds files of somebody else, or weights that a compiled model would take the place of.
    """
    check_replaceable(folder, _MARKER)
    if not folder.is_dir():
        return
    if compiled and (folder / _WEIGHTS).is_file():
        raise InputError(f"{folder} holds a model that can be trained, which an exported one can't replace; choose another place (--out)")
    refuse_others(folder, {_MARKER, _WEIGHTS, "labels.txt", *_graphs(folder)})


def _graphs(folder: Path) -> set[str]:
    """Return the files of an exported model's networks."""
    stems: set[str] = set()
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):  # damaged: then nothing is known to be the zoo's
        content = json.loads((folder / _MARKER).read_text(encoding="utf-8"))
        stems = {Path(each["file"]).stem for each in content.get("compiled", {}).get("networks", [])}
    return {path.name for path in folder.iterdir() if path.is_file() and path.stem in stems}
