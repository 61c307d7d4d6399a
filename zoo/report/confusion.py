"""Confusion matrix as HTML: a table if there are few classes, otherwise an image and the most frequently confused pairs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from zoo.report.pages import data_uri, scrolling, table, text

_TABLE = 30  # maximum number of classes for a table: a larger one is hard to read and makes the file large
_PAIRS = 40  # maximum number of listed pairs
_DOTS = 500  # maximum number of dots along a side of the image
_LEVELS = 10  # number of colour strengths
_COLD, _WARM, _RIGHT = (247, 248, 250), (196, 78, 18), (0, 88, 160)

Counts = NDArray[np.int64]

STYLE = """
.confusion{font-size:12px;font-variant-numeric:tabular-nums}.confusion td,.confusion th{padding:.25rem .35rem;border:1px solid var(--paper)}
.confusion td{text-align:center;min-width:2.1rem;background:var(--panel)}.confusion th{font-weight:400;white-space:nowrap}
.confusion thead th{vertical-align:bottom}
.confusion thead span{writing-mode:vertical-rl;transform:rotate(180deg);max-height:9rem;overflow:hidden}
.confusion tbody th{position:sticky;left:0;background:var(--paper);text-align:right;max-width:11rem;overflow:hidden;text-overflow:ellipsis}
.heat{width:min(100%,500px);image-rendering:pixelated;display:block;border:1px solid var(--rule)}
"""
# correct predictions are blue, wrong ones orange; from level 6, the text is white
STYLE += "".join(
    f".confusion .{name}{level}{{background:rgb({colour} / {level / _LEVELS:.2f});{'color:#fff' if level > 5 else ''}}}"
    for name, colour in (("r", "0 88 160"), ("w", "196 78 18"))
    for level in range(1, _LEVELS + 1)
)


def confusion(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield the confusion matrix, given by `classes` (K names) and `rows_true_columns_answered` (K rows of K image counts), as HTML."""
    names = [str(name) for name in found["classes"]]
    counts = np.array(found["rows_true_columns_answered"], np.int64).reshape(len(names), len(names))
    yield (
        "<p>Rows are true classes, columns are predicted classes. The colour shows the fraction of the row: <b>blue</b> is correct, "
        "<b>orange</b> is wrong. Colour strength is proportional to the square root of the fraction, so that rare mistakes are visible.</p>"
    )
    if len(names) <= _TABLE:
        yield _table(names, counts)
    else:
        yield _heat(len(names), counts)
    yield from _pairs(names, counts)


def levels(counts: Counts) -> NDArray[np.uint8]:
    """Return the colour level of each cell, 0–10, proportional to the square root of its fraction of the row; at least 1 if not empty."""
    parts = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    strength: NDArray[np.uint8] = np.maximum(np.rint(_LEVELS * np.sqrt(parts)), counts > 0).astype(np.uint8)
    return strength


def _table(names: Sequence[str], counts: Counts) -> str:
    strength, rows = levels(counts), []
    for row, name in enumerate(names):
        total = int(counts[row].sum())
        cells = []
        for column, count in enumerate(counts[row].tolist()):
            kind = f' class="{"r" if row == column else "w"}{strength[row, column]}"' if count else ""
            counted = f"{name}, predicted {names[column]}: {count} of {total}"
            title = f' title="{text(counted)} ({count / total:.1%})"' if count else ""
            cells.append(f"<td{kind}{title}>{count or ''}</td>")
        rows.append(f'<tr><th scope="row" title="{text(name)}">{text(name)}</th>{"".join(cells)}</tr>')
    head = "".join(f'<th scope="col" title="{text(name)}"><span>{text(name)}</span></th>' for name in names)
    header = f"<thead><tr><th>true ↓ predicted →</th>{head}</tr></thead>"
    return scrolling(f'<table class="confusion">{header}<tbody>{"".join(rows)}</tbody></table>')


def _heat(classes: int, counts: Counts) -> str:
    """Return the matrix as an image. With more classes than dots, each dot shows the cell with the highest level of a block."""
    step = -(-classes // _DOTS)
    room = -classes % step
    strength, right = (np.pad(cells, ((0, room), (0, room))) for cells in (levels(counts), np.eye(classes, dtype=np.uint8)))
    side = (classes + room) // step
    strength, right = (cells.reshape(side, step, side, step).max((1, 3)) for cells in (strength, right))
    part = (strength / _LEVELS)[..., None]
    image = (np.array(_COLD) * (1 - part) + np.where(right[..., None], _RIGHT, _WARM) * part).astype(np.uint8)
    grow = max(1, _DOTS // side)
    large = cv2.resize(image, None, fx=grow, fy=grow, interpolation=cv2.INTER_NEAREST).astype(np.uint8)
    each = "each dot is one pair of classes" if step == 1 else f"each dot is {step} × {step} pairs; the highest fraction is shown"
    alt = f"confusion matrix of {classes} classes"
    return f'<img class="heat" alt="{alt}" src="{data_uri(large, None)}"><p class="soft">{classes} classes, in order; {each}.</p>'


def _pairs(names: Sequence[str], counts: Counts) -> Iterator[str]:
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    places = np.flatnonzero(wrong)
    if not len(places):
        yield "<p>No classes were confused.</p>"
        return
    most = places[np.argsort(-wrong.ravel()[places], kind="stable")][:_PAIRS]
    rows = []
    for row, column in zip(*np.unravel_index(most, wrong.shape), strict=True):
        total = int(counts[row].sum())
        share = f"{wrong[row, column] / total:.1%} of {total}"
        rows.append((text(names[row]), text(names[column]), str(wrong[row, column]), share))
    shown = f"the {len(rows)} most frequent of {len(places)} pairs" if len(places) > len(rows) else f"all {len(places)} pairs"
    inner = table(("true", "predicted", "images", "fraction of the class"), rows, right=[2, 3])
    yield f"<details{' open' if len(names) > _TABLE else ''}><summary>Confused classes: {shown}</summary>{inner}</details>"
