"""Where a platform keeps what belongs to a user."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def user_folder(kind: str, mac: str, other: str) -> Path:
    """Return the zoo's folder in `$XDG_<KIND>_HOME`, or where the platform keeps such files; it need not exist.

    Args:
        kind: "CACHE" for what can be computed again, "DATA" for what can't.
        mac: the folder of `~/Library` on a Mac.
        other: the folder of the home where the platform is neither that nor Windows, which has `%LOCALAPPDATA%` for both.
    """
    if os.environ.get(f"XDG_{kind}_HOME"):
        base = Path(os.environ[f"XDG_{kind}_HOME"])
    elif sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / mac
    else:
        base = Path.home() / other
    return base / "resnet-zoo"
