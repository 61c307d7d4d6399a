"""Text files with one name per line, as editors and tools write them: byte order marks, all line ends, quotation marks."""

from __future__ import annotations

import re
from pathlib import Path

from zoo.system.files import read_text

_LINE_END = re.compile(r"\r\n|\r|\n")


def read_lines(path: Path, *, keep_quotes: bool = False) -> list[tuple[int, str]]:
    """Return the line numbers and stripped texts of all lines that aren't empty.

    Quotation marks around a line, which CVAT writes if a name contains spaces, are removed unless `keep_quotes`.

    Raises:
        DataError: the file can't be read, or isn't UTF-8 or UTF-16 with a byte order mark.
    """
    lines = enumerate(map(str.strip, _LINE_END.split(read_text(path))), 1)
    return [(number, line if keep_quotes else unquoted(line)) for number, line in lines if line]


def unquoted(text: str) -> str:
    """Return a text without the quotation marks around it."""
    whole = len(text) > 2 and text[0] == text[-1] and text[0] in "\"'" and text[0] not in text[1:-1]
    return text[1:-1].strip() if whole else text
