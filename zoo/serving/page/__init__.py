"""The page at `/`: one HTML document with its own style and script, assembled from the files in this folder."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path

from zoo import __version__

_FOLDER = Path(__file__).parent
# in the order in which they are joined; all share one scope
_SCRIPTS = ("elements", "server", "answers", "drawing", "results", "code", "gallery", "input", "main")


@dataclass(frozen=True)
class Page:
    """The page and the headers to send with it."""

    content: bytes
    headers: Mapping[str, str]


def load_page(root_path: str) -> Page:
    """Return the page.

    The content security policy allows the page's own style and script by their hashes, and connections to this server; nothing else is
    loaded, and text can't be inserted as HTML.

    Args:
        root_path: path under which a reverse proxy publishes the server; "" for none.
    """
    style = f"\n{_compact(_read('style.css'))}\n"
    script = "\n".join(["", *(_compact(_read(f"{name}.js")) for name in _SCRIPTS), ""])
    page = _read("page.html").replace("{root}", escape(root_path)).replace("{version}", escape(__version__))
    content = page.replace("{style}", style).replace("{script}", script).encode()
    policy = {
        "default-src": "'none'",
        "script-src": _hash(script),
        "style-src": _hash(style),
        "img-src": "blob: data:",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
        "require-trusted-types-for": "'script'",
    }
    headers = {
        "Content-Security-Policy": "; ".join(map(" ".join, policy.items())),
        "Cache-Control": "no-cache",  # the browser keeps it, and asks whether it has changed
        "ETag": f'"{hashlib.sha256(content).hexdigest()[:32]}"',
        "Referrer-Policy": "no-referrer",
        "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
        "Cross-Origin-Opener-Policy": "same-origin",
    }
    return Page(content, headers)


def _read(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")


def _compact(text: str) -> str:
    """Return a style or script without indentation, empty lines and lines that are comments, which are a seventh of it."""
    lines = (line.strip() for line in text.splitlines())
    return "\n".join(line for line in lines if line and not line.startswith("//"))


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
