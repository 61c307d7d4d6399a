"""Line charts as SVG embedded in the page.

The SVG isn't created with matplotlib, because its files are five to ten times as large, its colours can't follow the page's dark mode, and
its text would be too small on a phone. These charts are 360 units wide, which fits a phone screen at full size.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zoo.report.pages import text
from zoo.task.metric import Curve

_WIDTH, _HEIGHT = 360, 270
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 12, 10, 40  # margins for ticks and labels
_LINES = 12  # maximum number of lines: six colours, solid and dashed; more would be indistinguishable
_POINTS = 400  # maximum number of points per line, more than the width in pixels
_MARKED = 25  # maximum number of points of a line whose points are marked
_TICKS = 5  # approximate number of steps between ticks

STYLE = """
.charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,320px),1fr));gap:1.2rem 1.6rem}
.charts h3{margin:.2rem 0}.chart{width:100%;max-width:480px;height:auto;display:block}
.chart text{font-size:11px;fill:var(--soft)}.chart .grid{stroke:var(--rule);stroke-width:1}.chart .diagonal{stroke:var(--soft);
stroke-dasharray:2 4}
.line{fill:none;stroke-width:1.8;stroke-linejoin:round}circle.line{fill:var(--paper)}.mark{fill:var(--paper);stroke-width:2.4}
.dashed{stroke-dasharray:6 3}
.s0{stroke:#0072b2}.s1{stroke:#c2570c}.s2{stroke:#008060}.s3{stroke:#a03a78}.s4{stroke:#3a9bd0}.s5{stroke:#8a7400}
@media(prefers-color-scheme:dark){.s0{stroke:#5ab4f0}.s1{stroke:#ff9a52}.s2{stroke:#3fcf9f}.s3{stroke:#ee8ac4}.s4{stroke:#a9dcff}
.s5{stroke:#e3cc4b}}
.legend{list-style:none;margin:.2rem 0 0;padding:0;display:flex;flex-wrap:wrap;gap:.1rem .9rem;font-size:12px}
.legend svg{width:24px;height:8px;margin-right:.3rem;vertical-align:middle}
"""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Axis:
    """Chart axis. It maps the value `low` to the position `start`, and `high` (> `low`) to `end`. Positions are in SVG units."""

    low: float
    high: float
    log: bool
    start: float
    end: float

    def place(self, values: Floats) -> Floats:
        """Return the positions of values. Values outside the axis are clipped to its ends."""
        values = np.clip(values, self.low, self.high)
        low, high = (math.log10(self.low), math.log10(self.high)) if self.log else (self.low, self.high)
        part = ((np.log10(values) if self.log else values) - low) / (high - low)
        placed: Floats = self.start + part * (self.end - self.start)
        return placed

    def ticks(self) -> list[float]:
        """Return the values of the ticks, which are round numbers."""
        if self.log:
            first, last = round(math.log10(self.low)), round(math.log10(self.high))
            return [10.0**power for power in range(first, last + 1, max(1, (last - first) // _TICKS))]
        step = round_step(self.high - self.low)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [count * step for count in range(first, last + 1)]


def round_step(span: float) -> float:
    """Return a step between ticks: 1, 2 or 5 times a power of ten, so that `span` is divided into about five steps."""
    power = 10.0 ** math.floor(math.log10(span / _TICKS))
    return next(times * power for times in (1, 2, 5, 10) if span / (times * power) <= _TICKS + 0.5)


def axis(values: Floats, log: bool, start: float, end: float, unit: bool = False) -> Axis:
    """Return an axis that covers all values, which must be finite, from position `start` to `end` in SVG units.

    If `unit` is true, the axis covers at least 0 to 1. A logarithmic axis covers the positive values.
    """
    if log:
        positive = values[values > 0]
        low, high = (float(positive.min()), float(positive.max())) if len(positive) else (0.1, 1.0)
        first = math.floor(math.log10(low) + 1e-9)
        return Axis(10.0**first, 10.0 ** max(math.ceil(math.log10(high) - 1e-9), first + 1), True, start, end)
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
    if unit:
        return Axis(min(low, 0.0), max(high, 1.0), False, start, end)
    low = 0.0 if 0 <= low <= (high - low) else low
    step = round_step(high - low) if high > low else max(abs(high), 1.0)
    low = math.floor(low / step + 1e-9) * step
    return Axis(low, max(math.ceil(high / step - 1e-9) * step, low + step), False, start, end)


def chart(curve: Curve) -> str:
    """Return a chart with its title and legend as HTML."""
    lines = {name: _finite(*points) for name, points in list(curve.lines.items())[:_LINES]}
    lines = {name: points for name, points in lines.items() if len(points[0])}
    count = f"{len(lines)} of {len(curve.lines)} lines are shown; the others have no points or exceed the limit of {_LINES} lines."
    note = f'<p class="soft">{count}</p>' if len(lines) < len(curve.lines) else ""
    words = f"{curve.title}: {curve.y_label} over {curve.x_label}, {', '.join(lines) or 'no lines'}"
    marked = [f"{name} {curve.marks[name][2]}" for name in lines if name in curve.marks]
    words += f". Marked: {'; '.join(marked)}" if marked else ""
    note += f'<p class="soft">◇ operating point: {text("; ".join(marked))}</p>' if marked else ""
    drawing = "".join(_drawn(curve, lines)) if lines else ""
    picture = f'<svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{text(words)}">{drawing}</svg>' if lines else ""
    return f"<figure><h3>{text(curve.title)}</h3>{picture}{_legend(list(lines)) if len(lines) > 1 else ''}{note}</figure>"


def _finite(x: Sequence[float], y: Sequence[float]) -> tuple[Floats, Floats]:
    both = np.array([x, y], np.float64)
    both = both[:, np.isfinite(both).all(0)]
    shown = np.unique(np.linspace(0, both.shape[1] - 1, _POINTS).astype(int)) if both.shape[1] > _POINTS else slice(None)
    return both[0, shown], both[1, shown]


def _drawn(curve: Curve, lines: dict[str, tuple[Floats, Floats]]) -> Iterator[str]:
    xs, ys = (np.concatenate([points[side] for points in lines.values()]) for side in (0, 1))
    across = axis(xs, curve.log_x, _LEFT, _WIDTH - _RIGHT, unit=curve.diagonal or (_part(xs) and bool(np.ptp(xs) > 0.5)))
    # most scores are fractions and are shown over the full range from 0 to 1
    up = axis(ys, False, _HEIGHT - _BOTTOM, _TOP, unit=curve.diagonal or _part(ys))
    yield from grid(across, up)
    if curve.diagonal:
        same = (np.geomspace if curve.log_x else np.linspace)(across.low, across.high, 100)  # curved if the x-axis is logarithmic
        yield _path(same, same, across, up, "line diagonal")
    for place, (x, y) in enumerate(lines.values()):
        yield _path(x, y, across, up, _kind(place))
        if len(x) <= _MARKED:
            spots = zip(across.place(x), up.place(y), x, y, strict=True)
            yield "".join(
                f'<circle class="line s{place % 6}" cx="{left:.1f}" cy="{top:.1f}" r="2.5"><title>{at:.4g}, {value:.4g}</title></circle>'
                for left, top, at, value in spots
            )
    for place, name in enumerate(lines):
        if name in curve.marks:
            yield _mark(name, curve.marks[name], place, across, up)
    yield f'<text x="{(_LEFT + _WIDTH - _RIGHT) / 2}" y="{_HEIGHT - 6}" text-anchor="middle">{text(curve.x_label)}</text>'
    middle = (_TOP + _HEIGHT - _BOTTOM) / 2
    yield f'<text x="12" y="{middle}" text-anchor="middle" transform="rotate(-90 12 {middle})">{text(curve.y_label)}</text>'


def _part(values: Floats) -> bool:
    return bool(values.min() >= 0 and 0.5 < values.max() <= 1)


def grid(across: Axis, up: Axis) -> Iterator[str]:
    """Yield the grid lines and the labels of the ticks as SVG, for axes that start at the bottom left."""
    for value, left in zip(across.ticks(), across.place(np.array(across.ticks())), strict=True):
        yield f'<path class="grid" d="M{left:.1f} {up.end}V{up.start}"/>'
        yield f'<text x="{left:.1f}" y="{up.start + 17}" text-anchor="middle">{_number(value, across.log)}</text>'
    for value, top in zip(up.ticks(), up.place(np.array(up.ticks())), strict=True):
        yield f'<path class="grid" d="M{across.start} {top:.1f}H{across.end}"/>'
        yield f'<text x="{across.start - 5}" y="{top + 4:.1f}" text-anchor="end">{_number(value, False)}</text>'


def _number(value: float, log: bool) -> str:
    return f"1e{round(math.log10(value))}" if log and not 0.01 <= value <= 1000 else f"{round(value, 10):g}"


def _path(x: Floats, y: Floats, across: Axis, up: Axis, kind: str) -> str:
    points = " ".join(f"{left:.1f},{top:.1f}" for left, top in zip(across.place(x), up.place(y), strict=True))
    return f'<polyline class="{kind}" points="{points}"/>'


def _mark(name: str, mark: tuple[float, float, str], place: int, across: Axis, up: Axis) -> str:
    """Return a diamond with a description at a point of the line number `place`."""
    left, top = (float(axis.place(np.array([value]))[0]) for axis, value in zip((across, up), mark, strict=False))
    shape = f"M{left:.1f} {top - 6:.1f}l6 6-6 6-6-6z"
    return f'<path class="mark s{place % 6}" d="{shape}"><title>{text(f"{name}: {mark[2]}")}</title></path>'


def _kind(place: int) -> str:
    return f"line s{place % 6}{' dashed' if place >= 6 else ''}"


def _legend(names: Sequence[str]) -> str:
    swatch = '<svg viewBox="0 0 24 8" aria-hidden="true"><path class="{}" d="M0 4H24"/></svg>'
    return f'<ul class="legend">{"".join(f"<li>{swatch.format(_kind(place))}{text(name)}</li>" for place, name in enumerate(names))}</ul>'
