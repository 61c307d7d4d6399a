"""Tables of a report: scores per class, tables from the metric, and further results of the metric."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from zoo.report.pages import table, text
from zoo.task.metric import Table

_ROOM = 400_000  # maximum number of characters of a table; 1,000 classes need a quarter of this
_OPEN = 40  # maximum number of rows of a table that isn't collapsed
_INLINE = 12  # maximum number of list elements shown in a cell

Row = Sequence[str]


def number(value: object) -> str:
    """Format a cell as HTML: scores with four decimals, counts as integers, missing values as an en dash."""
    return text(_plain(value))


def _plain(value: object) -> str:
    if value is None or (isinstance(value, float) and value != value):
        return "–"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"


def per_class(found: Mapping[str, Mapping[str, float | None]]) -> Iterator[str]:
    """Yield a table of the scores of each class, weakest class first."""
    columns = list(dict.fromkeys(name for scores in found.values() for name in scores))
    ordered = sorted(found.items(), key=lambda item: _strength(item[1]))
    rows = [(text(name), *(number(scores.get(column)) for column in columns)) for name, scores in ordered]
    yield "<p>Weakest classes first, by the mean of their scores.</p>"
    yield _folded("classes", ("class", *columns), rows, range(1, len(columns) + 1))


def _strength(scores: Mapping[str, float | None]) -> tuple[bool, float]:
    """Return the sort key of a class: the mean of its scores. Integers are counts and are ignored; classes without scores come last."""
    known = [value for value in scores.values() if isinstance(value, float) and value == value]
    return not known, sum(known) / max(1, len(known))


def given(found: Table) -> Iterator[str]:
    """Yield a table from the metric."""
    yield f"<h3>{text(found.title)}</h3>"
    if found.note:
        yield f"<p>{text(found.note)}</p>"
    numeric = [place for place in range(len(found.header)) if all(not isinstance(row[place], str) for row in found.rows)]
    yield _folded("rows", found.header, [[number(cell) for cell in row] for row in found.rows], numeric)


def _folded(what: str, header: Sequence[str], rows: Sequence[Row], numeric: Sequence[int]) -> str:
    """Return a table, collapsed if it is long and truncated if it is too large for the file. `what` names the rows."""
    shown = list(_within(rows, _ROOM))
    whole = table([text(name) for name in header], shown, numeric)
    if len(rows) <= _OPEN and len(shown) == len(rows):
        return whole
    which = (
        f"all {len(rows):,} {what}" if len(shown) == len(rows) else f"the first {len(shown):,} of {len(rows):,} {what}; --json lists all"
    )
    return f"<details{' open' if len(shown) <= _OPEN else ''}><summary>{which}</summary>{whole}</details>"


def _within(rows: Sequence[Row], room: int) -> Iterator[Row]:
    for row in rows:
        room -= sum(len(cell) + 20 for cell in row)  # 20 characters for the tags of a cell
        if room < 0:
            return
        yield row


def details(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield further results of a metric. Single values share one table; each list of dicts becomes a separate table."""
    single: list[tuple[str, str]] = []
    for name, value in _flat(found):
        if isinstance(value, list | tuple) and value and all(isinstance(entry, Mapping) for entry in value):
            header = tuple(dict.fromkeys(str(key) for entry in value for key in entry))
            yield from given(Table(name, header, tuple(tuple(_cell(entry.get(key)) for key in header) for entry in value)))
        else:
            single.append((text(name), number(_cell(value))))
    if single:
        yield _folded("values", (), single, ())


def _flat(found: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in found.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name}, ")
        else:
            yield f"{before}{name}", value


def _cell(value: Any) -> str | float | None:
    if isinstance(value, list | tuple):
        more = f", … ({len(value)} in all; see --json)" if len(value) > _INLINE else ""
        return (", ".join(_plain(_cell(entry)) for entry in value[:_INLINE]) or "none") + more
    return value if value is None or isinstance(value, str | int | float) else str(value)
