"""Summary sections of a report: primary score, all scores with confidence intervals, skipped samples and provenance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from zoo.errors import Fault
from zoo.report.pages import table, text
from zoo.report.tables import number
from zoo.task.scores import Scores

_LISTED = 200  # maximum number of listed skipped samples
_BAR = 160  # pixels: width of the bar of a score

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
    """Return a panel with a large number, a text below it, and related `facts` (texts by name).

    `value` is None if there is no number. Empty facts are omitted.
    """
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
    """Return a table of the provenance of a result: dataset, weights, preprocessing and versions.

    `weights` is the origin of the model's weights; "" if unknown.
    """
    rows = [("data", text(scores.data))]
    rows += [("weights", text(weights))] if weights else []
    rows += [(f"fingerprint, {text(name)}", f"<code>{text(value)}</code>") for name, value in scores.fingerprints.items()]
    rows += [("preprocessing", text(_words(scores.preprocess)))] if scores.preprocess else []
    rows += [("precision", text(scores.precision))] if scores.precision else []
    rows += [("seconds", f"{scores.seconds:.1f}"), ("versions", text(_words(scores.versions)))]
    return table((), rows)


def _words(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {_plain(value)}" for name, value in values.items())


def _plain(value: Any) -> str:
    return f"({', '.join(map(str, value))})" if isinstance(value, Sequence) and not isinstance(value, str) else str(value)
