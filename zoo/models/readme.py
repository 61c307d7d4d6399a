"""README.md of a saved model: the model card that `zoo card` writes, which may be replaced unless it was changed since."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

README = "README.md"
_MARK = re.compile(r"\n<!-- written by zoo card, ([0-9a-f]{16}) -->\n\Z")  # at the end, because the metadata must come first


def marked(text: str) -> str:
    """Return the text of a model card with a comment at its end, by which `is_generated` recognises it."""
    return f"{text}\n<!-- written by zoo card, {_digest(text)} -->\n"


def is_generated(path: Path) -> bool:
    """Return whether a file is a model card that was written by `zoo card` and not changed since."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False
    mark = _MARK.search(text)
    return mark is not None and mark[1] == _digest(text[: mark.start()])


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:16]
