"""Adaptation of the zoo's docstrings to Napoleon."""

from __future__ import annotations

import dataclasses
import inspect
import re
from typing import Any

from sphinx.application import Sphinx

_FIELD = re.compile(r"^    (\w+): [^\n]*?  # ([^\n]+)$", re.MULTILINE)


def prepare(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Change the lines of a docstring before Napoleon reads them."""
    if what in ("class", "exception") and lines and (obj.__doc__ or "").startswith(lines[0]):
        lines += fields_from_comments(obj, lines)
    without_types(what, lines)


def fields_from_comments(kind: type[Any], lines: list[str]) -> list[str]:
    """Return an Attributes section made from the comments behind a dataclass's fields; empty if the docstring has one."""
    if not dataclasses.is_dataclass(kind) or "Attributes:" in lines:
        return []
    found = [f"    {field}: {comment}" for field, comment in _FIELD.findall(inspect.getsource(kind))]
    return ["", "Attributes:", *found, ""] if found else []


def without_types(what: str, lines: list[str]) -> None:
    """Keep Napoleon from reading "text: more text" as a type and its description: types stand in signatures, never in docstrings."""
    for index, line in enumerate(lines):
        first_of_section = index > 0 and lines[index - 1].strip() in ("Returns:", "Yields:")
        if (first_of_section or (index == 0 and what in ("attribute", "property"))) and ":" in line:
            indent = len(line) - len(line.lstrip())
            lines[index] = f"{line[:indent]}: {line[indent:]}"


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect to autodoc, before Napoleon."""
    app.connect("autodoc-process-docstring", prepare, priority=100)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
