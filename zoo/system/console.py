"""Output to consoles and pipes whose encoding lacks some of the characters, such as those of Windows and of cron jobs."""

from __future__ import annotations

import codecs
import io
import sys

_PLAIN = {
    "–": "-", "—": "-", "−": "-", "…": "...", "×": "x", "±": "+/-", "·": "*", "•": "*", "→": "->", "←": "<-", "≤": "<=", "≥": ">=",
    "≈": "~", "‘": "'", "’": "'", "“": '"', "”": '"', "²": "^2", "█": "#", "─": "-", "━": "-", "╌": "-", "│": "|", "┃": "|", "║": "|",
}  # fmt: skip
_REPLACE = "zoo.replace"


def _replaced(error: UnicodeError) -> tuple[str, int]:
    """Replace typographic characters by ASCII ones, and others, such as letters in file names, by escape sequences."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(_plain(sign) for sign in error.object[error.start : error.end]), error.end


def _plain(sign: str) -> str:
    corner = "+" if "\u2500" <= sign <= "\u257f" else None  # other box-drawing characters
    return _PLAIN.get(sign) or corner or sign.encode("ascii", "backslashreplace").decode("ascii")


codecs.register_error(_REPLACE, _replaced)


def print_anything() -> None:
    """Let standard output and standard error replace characters that they can't encode, instead of raising an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_REPLACE)
