"""Scores of attributes: accuracy on matched boxes, and average precision of class and attribute together.

Accuracy: the detections of each class are matched to its objects as for AP50: greedily, in descending order of score, at an IoU of at
least 0.5. No other score threshold applies than that of the model. Of the objects that are matched and have a known value, accuracy is the
fraction whose most probable value is right. It measures the attribute alone: objects that weren't found, and false positives, don't count.

AP follows the protocol for object attributes of PACO (Ramanathan et al. 2023, arXiv 2301.01795, section 4): every pair of a class and a
value is a class to detect. Each detection counts for every value, with its score times the probability of the value, and is right if it
matches an object of the class with this value. Objects with an unknown value count neither as found nor as missed. The AP of an attribute
is the mean over the pairs that have objects. Other protocols don't fit: Fashionpedia's AP (IoU and F1 thresholds, arXiv 2004.12276) is
defined for sets of hundreds of attributes and ignores their probabilities, and the mAP of attributes on Visual Genome (Anderson et al.
2018, arXiv 1707.07998) disregards the class.

Each score is the mean over the attributes, and None or NaN if no box has an attribute.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from zoo.evaluation.intervals import Counts
from zoo.task.metric import Table
from zoo.tasks.detection.attributes import Attributes
from zoo.tasks.detection.data.columns import Bools, Columns, Floats, Found, Ints, Truth
from zoo.tasks.detection.metric.average_precision import joined, weighted_scores
from zoo.tasks.detection.metric.evaluators import Evaluation, evaluate
from zoo.tasks.detection.metric.matching import Matches, match
from zoo.tasks.detection.options import DetectionScoring

NAMES = ("attribute_accuracy", "attribute_AP", "attribute_AP50")
_NOTE = "Accuracy: of the matched boxes (IoU at least 0.5) with a known value. AP: of class and attribute together, as in PACO."


@dataclass(frozen=True)
class AttributeScores:
    """Scores of a model's attributes."""

    scores: Mapping[str, float | None]  # by the names in `NAMES`
    replicates: Mapping[str, Floats]  # of the scores, [R] each
    details: Mapping[str, Any]  # numbers and scores by attribute and value, JSON-serialisable
    table: Table  # the details as a table


@dataclass(frozen=True)
class _Attribute:
    """Objects, detections and correctness from which the scores of one attribute are computed."""

    values: tuple[str, ...]
    picture: Ints  # image of each matched object with a known value, [M]
    wanted: Ints  # value of each of these objects, [M]
    right: Bools  # whether the most probable value is the object's, [M]
    objects: Ints  # number of objects that count, by value, [values]
    pairs: Columns  # objects and detections, with pairs of a class and a value as classes
    evaluation: Evaluation  # of the pairs

    @classmethod
    def of(cls, columns: Columns, matches: Matches, name: str, values: tuple[str, ...], scoring: DetectionScoring) -> _Attribute:
        known = columns.truth.attributes[name]
        matched = matches.right[:, 0, 0]
        rows, truth = matches.ranked.rows[matched], matches.truth[matched, 0, 0]
        rows, truth = rows[known[truth] >= 0], truth[known[truth] >= 0]
        best = columns.found.attributes[name][rows].argmax(1)
        objects = np.bincount(known[(known >= 0) & ~columns.truth.ignored], minlength=len(values))
        pairs = by_value(columns, name, values)
        evaluation = evaluate(pairs, scoring.evaluator, scoring.max_dets)
        return cls(values, columns.truth.picture[truth], known[truth], best == known[truth], objects, pairs, evaluation)

    def accuracy(self, value: int | None = None) -> float | None:
        """Return the accuracy, or that of the objects with one value; None if there are no such matched objects."""
        right = self.right if value is None else self.right[self.wanted == value]
        return float(right.mean()) if len(right) else None

    def replicates(self, drawn: list[Counts], max_dets: int) -> dict[str, Floats]:
        """Return the scores on bootstrap draws, [R] each."""
        matches = match(self.pairs, max_dets)
        found = []
        for counts in drawn:
            weights = counts[:, self.picture].astype(np.float64)
            total = weights.sum(1)
            accuracy = np.divide(weights @ self.right, total, out=np.full(len(counts), np.nan), where=total > 0)
            precision = weighted_scores(self.pairs, matches, counts, max_dets)
            found.append(dict(zip(NAMES, (accuracy, precision["AP"], precision["AP50"]), strict=True)))
        return joined(found)

    def rows(self) -> Iterator[tuple[str, int, int, float | None, float | None, float | None]]:
        """Yield value ("" for all), number of objects, number of matched objects, accuracy, AP and AP50."""
        own = self.evaluation.scores()
        yield "", int(self.objects.sum()), len(self.right), self.accuracy(), own["AP"], own["AP50"]
        count = len(self.values)
        for index, value in enumerate(self.values):
            part = Evaluation(
                self.evaluation.precision[:, :, index::count], self.evaluation.recall[:, index::count], self.evaluation.max_dets
            )
            own = part.scores()
            matched = int((self.wanted == index).sum())
            yield value, int(self.objects[index]), matched, self.accuracy(index), own["AP"], own["AP50"]


def attribute_scores(
    columns: Columns, matches: Matches, attributes: Attributes, scoring: DetectionScoring, drawn: Iterator[Counts]
) -> AttributeScores:
    """Score all attributes. `matches` are those of the columns, and `drawn` are the bootstrap draws of the images."""
    found = {name: _Attribute.of(columns, matches, name, tuple(values), scoring) for name, values in attributes.items()}
    rows = [(name, *row) for name, attribute in found.items() for row in attribute.rows()]
    whole = [row[4:] for row in rows if not row[1]]
    scores = {name: _mean([values[place] for values in whole]) for place, name in enumerate(NAMES)}
    details: dict[str, Any] = {}
    for name, value, *numbers in rows:
        entry = dict(zip(("objects", "matched", "accuracy", "AP", "AP50"), numbers, strict=True))
        if value:
            details[name]["values"][value] = entry
        else:
            details[name] = {**entry, "values": {}}
    table = Table("Attributes", ("attribute", "value", "objects", "matched", "accuracy", "AP", "AP50"), tuple(rows), _NOTE)
    draws = list(drawn)
    parts = [attribute.replicates(draws, scoring.max_dets) for attribute in found.values()] if draws else []
    return AttributeScores(scores, {name: _means([part[name] for part in parts]) for name in NAMES if parts}, details, table)


def by_value(columns: Columns, name: str, values: tuple[str, ...]) -> Columns:
    """Return columns with pairs of a class and a value of an attribute as classes; the label is class × number of values + value.

    Detections occur once per value, and their scores are multiplied by its probability. Objects with an unknown value occur once per value,
    and are marked as difficult, so that they are ignored.
    """
    count, truth, found = len(values), columns.truth, columns.found
    known = truth.attributes[name]
    rows = np.repeat(np.arange(len(known)), np.where(known < 0, count, 1))
    value = known[rows]
    unknown = value < 0
    value[unknown] = np.tile(np.arange(count), int((known < 0).sum()))
    objects = Truth(
        truth.picture[rows],
        truth.label[rows] * count + value,
        truth.xywh[rows],
        truth.area[rows],
        truth.crowd[rows],
        truth.difficult[rows] | unknown,
    )
    rows = np.repeat(np.arange(len(found.label)), count)
    label = found.label[rows] * count + np.tile(np.arange(count), len(found.label))
    detections = Found(found.picture[rows], label, found.xywh[rows], found.score[rows] * found.attributes[name].ravel())
    classes = tuple(f"{each} with {name} {value}" for each in columns.classes for value in values)
    return Columns(columns.keys, classes, objects, detections)


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _means(values: list[Floats]) -> Floats:
    """Return the mean of each replicate over the attributes on which it is defined, [R]; NaN if it is defined on none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # NumPy warns of means without values
        return np.asarray(np.nanmean(np.stack(values), axis=0))
