"""The user's configuration file, with defaults for options of the command line.

It is `config.toml` in the folder `resnet-zoo` of `$XDG_CONFIG_HOME`, or of the platform's folder for configuration (`~/.config`,
`~/Library/Application Support`, `%LOCALAPPDATA%`). There is no need for one.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from zoo.errors import InputError, UnknownNameError
from zoo.system.cache import user_folder

_KEYS: dict[str, tuple[type, ...]] = {"trust": (str,), "trusted_keys": (str,), "not_before": (int, str)}


class Configuration(dict[str, Any]):
    """Values of the configuration file by key.

    Attributes:
        path: the file, which may not exist.
    """

    def __init__(self, path: Path, values: dict[str, Any]) -> None:
        super().__init__(values)
        self.path = path


def configuration() -> Configuration:
    """Read the user's configuration file; without one, there are no values.

    Raises:
        InputError: the file can't be read, isn't TOML, or a value has the wrong type.
        UnknownNameError: a key is unknown.
    """
    path = user_folder("CONFIG", mac="Application Support", other=".config") / "config.toml"
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Configuration(path, {})
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path} can't be read: {error}; correct the file, or delete it") from error
    for key, value in values.items():
        if key not in _KEYS:
            raise UnknownNameError(f"key in {path}:", key, _KEYS)
        if not isinstance(value, _KEYS[key]) or isinstance(value, bool):
            kinds = " or ".join({str: "a text", int: "a number"}[kind] for kind in _KEYS[key])
            raise InputError(f"{path}: {key} is {value!r}; expected {kinds}")
    return Configuration(path, values)
