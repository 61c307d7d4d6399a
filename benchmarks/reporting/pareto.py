"""Pareto plots of a benchmark as SVG: score over latency or memory, with the names of cases on hover and on focus."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from zoo.report.charts import Axis, axis, grid
from zoo.report.pages import text

_WIDTH, _HEIGHT = 720, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 36, 14, 84  # margins for ticks, labels, and the name of a case
_LONGEST = 52  # maximum number of characters of a name in the plot, which fit on a phone

STYLE = """
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,520px),1fr));gap:1rem 1.6rem}
.pareto{width:100%;max-width:900px;height:auto;display:block}.pareto text{font-size:15px;fill:var(--soft)}
.pareto .grid{stroke:var(--rule);stroke-width:1}
.pareto .front{fill:none;stroke:#0072b2;stroke-width:1.5;stroke-dasharray:5 4}
.point circle{fill:var(--soft);stroke:var(--paper);stroke-width:1.5}.point.best circle{fill:#0072b2}
.point text{visibility:hidden;fill:var(--ink)}
.point:hover text,.point:focus text{visibility:visible}.point:focus{outline:none}
.point:hover circle,.point:focus circle{stroke:var(--ink);stroke-width:3}.point.off{display:none}
@media(prefers-color-scheme:dark){.point.best circle{fill:#5ab4f0}.pareto .front{stroke:#5ab4f0}}
@media(max-width:600px){.pareto text{font-size:22px}}
"""


@dataclass(frozen=True)
class Point:
    """A case in the plot."""

    name: str
    cost: float  # such as the latency; less is better
    score: float


def front(points: Sequence[Point]) -> list[Point]:
    """Return the points, cheapest first, for which no other costs at most as much and is at least as good, and better in one of both."""
    best: list[Point] = []
    for point in sorted(points, key=lambda each: (each.cost, -each.score)):
        if not best or point.score > best[-1].score or (point.score, point.cost) == (best[-1].score, best[-1].cost):
            best.append(point)
    return best


def plot(points: Sequence[Point], score: str, cost: str, unit: str) -> str:
    """Return the plot as HTML; "" if there are no points. `score` and `cost` are the names of the axes; `unit` is that of the costs."""
    if not points:
        return ""
    across = axis(np.array([point.cost for point in points]), True, _LEFT, _WIDTH - _RIGHT)
    up = axis(np.array([point.score for point in points]), False, _HEIGHT - _BOTTOM, _TOP)
    best = front(points)
    words = f"{score} over {cost} of {len(points)} cases. On the Pareto front: {', '.join(point.name for point in best)}"
    drawing = "".join(_drawn(points, best, across, up, (score, cost, unit)))
    return (
        f'<figure><svg class="pareto" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="group" aria-label="{text(words)}">{drawing}</svg>'
        f'<p class="soft">Blue: no other case is better at this {text(cost)} or a lower one. '
        "Names appear below on hover, and with the Tab key.</p>"
        "</figure>"
    )


def _drawn(points: Sequence[Point], best: Sequence[Point], across: Axis, up: Axis, names: tuple[str, str, str]) -> Iterator[str]:
    score, cost, unit = names
    yield from grid(across, up)
    yield f'<text x="{(_LEFT + _WIDTH - _RIGHT) / 2:.0f}" y="{_HEIGHT - 38}" text-anchor="middle">{text(cost)}, {text(unit)}</text>'
    yield f'<text x="{_LEFT + 6}" y="{_TOP + 12}">{text(score)}</text>'
    places = {point: (_at(across, point.cost), _at(up, point.score)) for point in points}
    line = " ".join(f"{'L' if number else 'M'}{places[point][0]:.1f} {places[point][1]:.1f}" for number, point in enumerate(best))
    yield f'<path class="front" d="{line}"/>'
    for point in sorted(points, key=lambda each: each.cost):  # the order of the Tab key
        left, top = places[point]
        words = f"{point.name}: {score} {point.score:.4f}, {point.cost:.3g} {unit}"
        name = point.name if len(point.name) <= _LONGEST else f"{point.name[: _LONGEST - 1]}…"
        yield (
            f'<g class="point{" best" if point in best else ""}" tabindex="0" role="img" aria-label="{text(words)}" '
            f'data-case="{text(point.name)}"><title>{text(words)}</title><circle cx="{left:.1f}" cy="{top:.1f}" r="7"/>'
            f'<text x="{_WIDTH / 2:.0f}" y="{_HEIGHT - 8}" text-anchor="middle">{text(name)}</text></g>'
        )


def _at(axis: Axis, value: float) -> float:
    return float(axis.place(np.array([value]))[0])
