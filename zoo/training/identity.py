"""Whether a run that is to be continued is the same run, and what differs where it is not."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from zoo.errors import InputError
from zoo.task.recipe import Recipe, to_toml

RUN, RECIPE = "run.json", "recipe.toml"
_NOTES = ("versions",)  # of interest, but no reason not to go on


def check_same(folder: Path, description: Mapping[str, Any], recipe: Recipe) -> None:
    """Compare a run with the one that a folder holds.

    Args:
        folder: with run.json and recipe.toml.
        description: what makes this run this run.
        recipe: its settings.

    Raises:
        InputError: listing every difference, or naming the file that is damaged.
    """
    before = {"recipe": _read(folder / RECIPE, tomllib.loads), **_read(folder / RUN, json.loads)}
    now = {"recipe": tomllib.loads(to_toml(recipe)), **json.loads(json.dumps(description))}
    found = [line for name in {**before, **now} if name not in _NOTES for line in _differences(name, before.get(name), now.get(name))]
    if found:
        raise InputError(
            f"{folder}: this run can't be continued, it was started otherwise: {'; '.join(found)}. Give what it was started with (see "
            f"{RECIPE} and {RUN} there), or choose another place with --out"
        )


def _read(path: Path, parse: Any) -> dict[str, Any]:
    try:
        content = parse(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:  # also what is no UTF-8, no JSON, no TOML
        raise InputError(f"{path} is damaged ({error}); start the run anew, in another place (--out)") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} is damaged (it holds a {type(content).__name__}); start the run anew, in another place (--out)")
    return content


def _differences(name: str, before: Any, now: Any) -> Iterator[str]:
    """Yield "lr was 0.001, is 0.01", with the names of what it stands in."""
    if isinstance(before, dict) and isinstance(now, dict):
        for part in {**before, **now}:
            for line in _differences(part, before.get(part), now.get(part)):
                yield f"{name}: {line}"
    elif before != now:
        yield f"{name} was {_word(before)}, is {_word(now)}"


def _word(value: Any) -> str:
    return "not given" if value is None else str(value)
