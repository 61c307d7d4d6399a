"""Operating points of detectors: precision and recall at an IoU of 0.5 as functions of a score threshold per class."""

from __future__ import annotations

import sys
from collections.abc import Mapping

import numpy as np

from zoo.task.metric import Table
from zoo.task.operating import Decisions, Rates
from zoo.tasks.detection.data.columns import Columns
from zoo.tasks.detection.metric.matching import match


def decisions_of(columns: Columns, default: float) -> dict[str, Decisions]:
    """Return the decisions about detections by class, with the default threshold of all classes.

    Detections are matched to objects as for AP50, without a limit on their number. Those that are matched to a crowd or a difficult object
    count neither as right nor as wrong. Lower thresholds only add detections, because matching is greedy by descending score.
    """
    matches, truth = match(columns, sys.maxsize), columns.truth
    rows, right, ignored = matches.ranked.rows, matches.right[:, 0, 0], matches.ignored[:, 0, 0]
    label, picture, score = columns.found.label[rows], columns.found.picture[rows], columns.found.score[rows]
    missed = ~matches.truth_ignored[:, 0]
    missed[matches.truth[right, 0, 0]] = False
    found = {}
    for index, name in enumerate(columns.classes):
        own, lost = (label == index) & ~ignored, missed & (truth.label == index)
        count = int(lost.sum())
        found[name] = Decisions(
            np.append(score[own], np.full(count, -np.inf)),
            np.append(right[own], np.ones(count, np.bool_)),
            np.append(picture[own], truth.picture[lost]),
            len(columns.keys),
            default,
        )
    return found


def operating_table(rates: Mapping[str, Rates], thresholds: Mapping[str, float]) -> Table:
    """Return a table with precision, recall and F1 of each class at its threshold."""
    rows = tuple(
        (name, round(thresholds[name], 4), each.precision, each.recall, each.f1, each.positives, each.accepted)
        for name, each in rates.items()
    )
    note = "Detections with a score above the threshold, matched to objects at an IoU of at least 0.5."
    return Table("Operating point", ("class", "threshold", "precision", "recall", "F1", "objects", "detections"), rows, note)
