"""Tables of a report: per class, those that a metric brings, and what else it found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from zoo.pages import table, text
from zoo.task import Table

_CLASSES = 2_000  # rows: a hundred bytes each
_ROWS = 1_000  # of any other table
_OPEN = 40  # rows: longer tables are folded
_INLINE = 12  # values of a list in one cell


def number(value: object) -> str:
    """Return a cell: scores with four digits, counts whole, an en dash for nothing."""
    if value is None or (isinstance(value, float) and value != value):
        return "–"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return text(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"


def per_class(found: Mapping[str, Mapping[str, float | None]]) -> Iterator[str]:
    """Return the scores of each class, the weakest first."""
    columns = list(dict.fromkeys(name for scores in found.values() for name in scores))
    ordered = sorted(found.items(), key=lambda item: _strength(item[1]))
    rows = [(text(name), *(number(scores.get(column)) for column in columns)) for name, scores in ordered[:_CLASSES]]
    shown = f"the {len(rows):,} weakest of {len(found):,} classes" if len(found) > len(rows) else f"all {len(found):,} classes"
    yield _folded(f"{shown}, the weakest first by the mean of their scores", ("class", *columns), rows, range(1, len(columns) + 1))


def _strength(scores: Mapping[str, float | None]) -> tuple[bool, float]:
    """Return what classes are ordered by: the mean of the scores (whole numbers are counts); those without any come last."""
    known = [value for value in scores.values() if isinstance(value, float) and value == value]
    return not known, sum(known) / max(1, len(known))


def given(found: Table) -> Iterator[str]:
    """Return a table that a metric brings."""
    yield f"<h3>{text(found.title)}</h3>"
    if found.note:
        yield f"<p>{text(found.note)}</p>"
    rows = [[number(cell) for cell in row] for row in found.rows[:_ROWS]]
    shown = f"the first {len(rows):,} of {len(found.rows):,} rows" if len(found.rows) > len(rows) else f"{len(rows):,} rows"
    numeric = [place for place in range(len(found.header)) if all(not isinstance(row[place], str) for row in found.rows)]
    yield _folded(shown, found.header, rows, numeric)


def _folded(summary: str, header: Sequence[str], rows: Sequence[Sequence[str]], numeric: Sequence[int]) -> str:
    whole = table([text(name) for name in header], rows, numeric)
    if len(rows) <= _OPEN and not summary.startswith("the "):
        return whole
    return f"<details{' open' if len(rows) <= _OPEN else ''}><summary>{summary}</summary>{whole}</details>"


def details(found: Mapping[str, Any]) -> Iterator[str]:
    """Return what else a metric found: single values in one table, lists of records as tables of their own."""
    single: list[tuple[str, str]] = []
    for name, value in _flat(found):
        if isinstance(value, list | tuple) and value and all(isinstance(entry, Mapping) for entry in value):
            header = tuple(dict.fromkeys(str(key) for entry in value for key in entry))
            yield from given(Table(name, header, tuple(tuple(_cell(entry.get(key)) for key in header) for entry in value)))
        else:
            single.append((text(name), number(_cell(value))))
    if single:
        yield table((), single)


def _flat(found: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in found.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name}, ")
        else:
            yield f"{before}{name}", value


def _cell(value: Any) -> str | float | None:
    if isinstance(value, list | tuple):
        more = f", … ({len(value)} in all; see --json)" if len(value) > _INLINE else ""
        return (", ".join(number(_cell(entry)) for entry in value[:_INLINE]) or "none") + more
    return value if value is None or isinstance(value, str | int | float) else str(value)
