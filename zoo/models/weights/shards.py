"""Sharded weights as Hugging Face's libraries write them: several files, and an index that lists the file of each key."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from zoo.errors import WeightsError

SUFFIX = ".index.json"
_PART = re.compile(r"(.+)-(\d{5})-of-(\d{5})(\.\w+)")


def read_index(path: Path, read: Callable[[Path], dict[str, Tensor]]) -> dict[str, Tensor]:
    """Read all weights that an index lists, from files in its folder. `read` reads one of them.

    Raises:
        WeightsError: the index isn't one, names a file outside its folder, or lists a key that its file lacks.
    """
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(f"weights {path}: the index can't be read ({error})") from error
    places = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(places, dict) or not places or not all(isinstance(name, str) for name in places.values()):
        raise WeightsError(f"weights {path}: expected an index of sharded weights: a weight_map from keys to file names")
    parts: dict[str, dict[str, Tensor]] = {}
    for name in dict.fromkeys(places.values()):
        if re.search(r"[\\/\0]|^\.*$", name) or name.endswith(SUFFIX):
            raise WeightsError(f"weights {path}: weight_map names {name!r}; expected a weights file beside the index")
        parts[name] = read(path.with_name(name))
    missing = [key for key, name in places.items() if key not in parts[name]]
    if missing:
        raise WeightsError(f"weights {path}: {places[missing[0]]} lacks {missing[0]}, which weight_map lists ({len(missing)} missing)")
    return {key: parts[name][key] for key, name in places.items()}


def check_whole(path: Path) -> None:
    """Raise a `WeightsError` if a file is one of several parts, judged by its name."""
    part = _PART.fullmatch(path.name)
    if part is not None and int(part[3]) > 1:
        index = f"{part[1]}{part[4]}{SUFFIX}"
        raise WeightsError(
            f"weights {path}: the file is part {int(part[2])} of {int(part[3])} of sharded weights; pass their index, {index}"
        )


def weights_in(folder: Path) -> str:
    """Return the name of the index or the weights file in a folder; "" unless there is exactly one."""
    for pattern in (f"*{SUFFIX}", "*.safetensors", "*.bin"):
        if found := list(folder.glob(pattern)):
            return found[0].name if len(found) == 1 else ""
    return ""
