"""Tables and summary sections of a report: primary score, all scores with intervals, scores per class, details and provenance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from zoo.errors import Fault
from zoo.report.pages import table, text
from zoo.task.metric import Scores, Table

_LISTED = 200  # maximum number of listed skipped samples
_BAR = 160  # pixels: width of the bar of a score
_ROOM = 400_000  # maximum number of characters of a table; 1,000 classes need a quarter of this
_OPEN = 40  # maximum number of rows of a table that isn't collapsed
_INLINE = 12  # maximum number of list elements shown in a cell

STYLE = """
.kicker{color:var(--soft);font-size:.85rem;letter-spacing:.04em;text-transform:uppercase;margin:0 0 .2rem}
.headline{display:flex;flex-wrap:wrap;gap:1rem 2.5rem;align-items:flex-end}
.headline{background:var(--panel);border:1px solid var(--rule);border-radius:10px;
padding:1.1rem 1.3rem;margin:1rem 0}
.big{font-size:3.2rem;line-height:1;font-weight:700;font-variant-numeric:tabular-nums;letter-spacing:-.02em}
.headline dl{display:flex;flex-wrap:wrap;gap:.6rem 1.8rem;margin:0}.headline dt{font-size:12px;color:var(--soft)}
.headline dd{margin:0;font-weight:600;font-variant-numeric:tabular-nums}
.headline p{margin:0}nav{display:flex;flex-wrap:wrap;gap:.2rem 1.1rem;margin:1rem 0}
.bar{width:160px;height:12px;display:block;margin-top:.3rem}.bar .track{fill:var(--rule)}.bar .value{fill:#0072b2}
.bar .interval{stroke:var(--ink);stroke-width:1.5;fill:none}
@media(prefers-color-scheme:dark){.bar .value{fill:#5ab4f0}}
@media(max-width:600px){.big{font-size:2.6rem}.scores{font-size:13px}.bar{width:72px}.scores td,.scores th{padding-right:.6rem}}
"""


def headline(scores: Scores, primary: str, facts: Mapping[str, str]) -> Iterator[str]:
    """Yield a panel with the primary score, the numbers of scored and skipped samples, and further `facts` (texts by name)."""
    bounds = scores.intervals.get(primary)
    interval = f"95 % interval {bounds[0]:.4f} to {bounds[1]:.4f}" if bounds else "no interval"
    left_out = scores.expected - scores.n
    shown = {"scored": f"{scores.n:,} of {scores.expected:,}", "skipped": f"{left_out:,}", **facts}
    yield panel(primary, scores.scores.get(primary), interval, shown)
    if left_out or scores.skipped:
        faults = f' Errors: <a href="#left-out">{len(scores.skipped):,}</a>.' if scores.skipped else ""
        yield f'<p class="warning">{left_out:,} of {scores.expected:,} samples were skipped and are not included in the scores.{faults}</p>'


def panel(name: str, value: float | None, below: str, facts: Mapping[str, str]) -> str:
    """Return a panel with a large number, if there is one, a text below it, and those `facts` (texts by name) that aren't empty."""
    entries = "".join(f"<div><dt>{text(fact)}</dt><dd>{text(words)}</dd></div>" for fact, words in facts.items() if words)
    return (
        f'<section class="headline"><div><p class="soft">{text(name)}</p><div class="big">{number(value)}</div>'
        f'<p class="soft">{text(below)}</p></div><dl>{entries}</dl></section>'
    )


def score_table(scores: Scores) -> str:
    """Return a table of all scores with their confidence intervals, if available, and bars for scores between 0 and 1."""
    rows = []
    for name, value in scores.items():
        bounds = scores.intervals.get(name)
        interval = f"{bounds[0]:.4f} – {bounds[1]:.4f}" if bounds else "<small>not available</small>" if number(value) == "–" else ""
        rows.append((text(name), number(value), interval, _bar(value, bounds)))
    header = ("score", "value", "95 % interval" if scores.intervals else "", "")
    return f'<div class="scores">{table(header, rows, right=[1, 2])}</div>'


def _bar(value: float | None, bounds: tuple[float, float] | None) -> str:
    if value is None or not 0 <= value <= 1:
        return ""
    whisker = ""
    if bounds is not None:
        low, high = (min(max(bound, 0.0), 1.0) * _BAR for bound in bounds)
        whisker = f'<path class="interval" d="M{low:.1f} 6H{high:.1f}M{low:.1f} 2V10M{high:.1f} 2V10"/>'
    return (
        f'<svg class="bar" viewBox="0 0 {_BAR} 12" aria-hidden="true"><rect class="track" y="3" width="{_BAR}" height="6" rx="3"/>'
        f'<rect class="value" y="3" width="{value * _BAR:.1f}" height="6" rx="3"/>{whisker}</svg>'
    )


def left_out(faults: Sequence[Fault]) -> str:
    """Return a list of the errors of skipped samples."""
    listed = "".join(f"<li>{text(fault)}</li>" for fault in faults[:_LISTED])
    more = len(faults) - _LISTED
    return f"<ul>{listed}{f'<li>… and {more:,} more; --json lists all</li>' if more > 0 else ''}</ul>"


def provenance(scores: Scores, weights: str) -> str:
    """Return a table of the provenance of a result: dataset, weights (their origin, if known), preprocessing and versions."""
    rows = [("data", text(scores.data))]
    rows += [("weights", text(weights))] if weights else []
    rows += [(f"fingerprint, {text(name)}", f"<code>{text(value)}</code>") for name, value in scores.fingerprints.items()]
    rows += [(f"commit, {text(name)}", text(f"{own['repository']} {own['commit']}")) for name, own in scores.hub.items()]
    rows += [("preprocessing", text(_words(scores.preprocess)))] if scores.preprocess else []
    rows += [("precision", text(scores.precision))] if scores.precision else []
    rows += [("seconds", f"{scores.seconds:.1f}"), ("versions", text(_words(scores.versions)))]
    return table((), rows)


def _words(values: Mapping[str, Any]) -> str:
    listed = [name for name, value in values.items() if isinstance(value, Sequence) and not isinstance(value, str)]
    shown = {**values, **{name: f"({', '.join(map(str, values[name]))})" for name in listed}}
    return ", ".join(f"{name} {value}" for name, value in shown.items())


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


def _folded(what: str, header: Sequence[str], rows: Sequence[Sequence[str]], numeric: Sequence[int]) -> str:
    """Return a table, collapsed if it is long and truncated if it is too large for the file. `what` names the rows."""
    ends = np.cumsum([sum(len(cell) + 20 for cell in row) for row in rows])  # 20 characters for the tags of a cell
    shown = rows[: int((ends <= _ROOM).sum())]
    whole = table([text(name) for name in header], shown, numeric)
    complete = len(shown) == len(rows)
    if complete and len(rows) <= _OPEN:
        return whole
    which = f"all {len(rows):,} {what}" if complete else f"the first {len(shown):,} of {len(rows):,} {what}; --json lists all"
    return f"<details{' open' if len(shown) <= _OPEN else ''}><summary>{which}</summary>{whole}</details>"


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
