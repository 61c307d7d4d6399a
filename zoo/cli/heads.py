"""Flags of models with several heads, whose values start with the names of heads."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from zoo.errors import InputError

_NAMED = re.compile(r"([\w-]+(?:,[\w-]+)*)=(.*)", re.DOTALL)
_SETTING = re.compile(r"(?:([\w-]+)\.)?(\w+)=(.*)", re.DOTALL)


def named_values(flag: str, values: Sequence[str], heads: Sequence[str], what: str = "DATA") -> dict[str, str]:
    """Return the values of a flag by the name of a head, or several names joined by commas.

    Args:
        flag: name of the flag, such as "--data".
        values: its values, NAME=VALUE. The name precedes the first ":", so `coco:x?a=b` has none.
        heads: names of the heads. If there is only one, its name may be omitted.
        what: description of the value, for messages.

    Raises:
        InputError: a value has no name, or two values have the same name.
    """
    found: dict[str, str] = {}
    for value in values:
        match = _NAMED.fullmatch(value)
        if match is None and len(heads) > 1:
            raise InputError(f"{flag} is {value!r}; expected NAME={what}, where NAME is a head of the model ({', '.join(heads)})")
        name, text = match.groups() if match else (heads[0], value)
        if name in found:
            raise InputError(f"{flag} has several values for {name!r}; expected one")
        found[name] = text
    return found


def head_values(flag: str, values: Sequence[str], heads: Sequence[str]) -> str | dict[str, str] | None:
    """Return the value of a flag that may be passed once per head: a dict from head name if the values have names; None if there are none.

    The only head of a model needs no name. The last value without a name counts, so that the flags of a command can be overridden; so does
    an existing path such as `lr=0.1/data`.

    Raises:
        InputError: the model has several heads and a value has no name, or two values have the same name.
    """
    if not values:
        return None
    if len(heads) == 1 and (Path(values[-1]).exists() or not _NAMED.fullmatch(values[-1])):
        return values[-1]
    return named_values(flag, values, heads)


def check_data(values: Sequence[str]) -> None:
    """Raise an `InputError` unless `--data` is set."""
    if not values:
        raise InputError("no data: pass --data with a path or a dataset string, or --data NAME=DATA for each head of a model with several")


def calibration_data(values: Sequence[str], heads: Sequence[str]) -> str | dict[str, str] | None:
    """Return the value of `--calibration`: one source of images for all heads, or a dict from head name; None if the flag isn't set.

    Raises:
        InputError: some values have names and others don't, or two values have the same name.
    """
    if not any(_NAMED.fullmatch(value) and not Path(value).exists() for value in values):
        return values[-1] if values else None
    return named_values("--calibration", values, heads)


def head_settings(values: Sequence[str]) -> list[tuple[str | None, str, Any]]:
    """Return the settings given as `HEAD.NAME=VALUE` or `NAME=VALUE`: head (None for all heads), name and value.

    Values are written as in TOML; a text needs no quotes.

    Raises:
        InputError: a setting isn't written in one of these forms.
    """
    found = []
    for setting in values:
        match = _SETTING.fullmatch(setting)
        if match is None:
            raise InputError(f"--set is {setting!r}; expected HEAD.NAME=VALUE, such as parts.flip=0, or NAME=VALUE for all heads")
        head, name, text = match.groups()
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            value = text
        found.append((head, name, value))
    return found
