"""Platform-specific folders for the user's data and cache."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def user_folder(kind: str, mac: str, other: str) -> Path:
    """Return the zoo's folder in `$XDG_<KIND>_HOME`, or in the platform's default location; it may not exist yet.

    Args:
        kind: "CACHE" for data that can be computed again, "DATA" for data that can't.
        mac: subfolder of `~/Library` on macOS.
        other: subfolder of the home folder on Linux and others; Windows uses `%LOCALAPPDATA%` for both kinds.
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
