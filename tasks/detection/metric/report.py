"""Detection reports: precision-recall curves, costs of errors, the images with the most errors, and example detections."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from zoo.errors import Box
from zoo.task.answers import Example
from zoo.task.metric import Curve, Mistake, Table
from zoo.tasks.detection.attributes import Attributes
from zoo.tasks.detection.data.columns import Columns, Floats, Ints, columns_of
from zoo.tasks.detection.data.targets import Target, as_target
from zoo.tasks.detection.metric.average_precision import RECALLS
from zoo.tasks.detection.metric.errors import KINDS, Errors
from zoo.tasks.detection.metric.evaluators import Evaluation
from zoo.tasks.detection.metric.matching import match
from zoo.tasks.detection.prediction.detections import above

Marks = Mapping[str, tuple[float, float, str]]  # points of curves by line name, as in `Curve.marks`
_LINES = 12  # maximum number of classes with one line each; more would be unreadable
_SHOWN = 24  # maximum number of images with errors
_BOXES = 30  # maximum number of boxes drawn per image with errors; more would hide the image
_EXAMPLE_BOXES = 40  # maximum number of true and of predicted boxes drawn per example
_SURE = 0.3  # minimum score of the detections shown; detectors return many with lower scores
_MEANING = {
    "class": "right place, wrong class",
    "localisation": "right class, IoU 0.1 to 0.5",
    "both": "wrong class and poor localisation",
    "duplicate": "already found by a detection with a higher score",
    "background": "no object there (IoU up to 0.1)",
    "missed": "not found",
}


def detection_curves(evaluation: Evaluation, classes: tuple[str, ...], marks: Marks = MappingProxyType({})) -> tuple[Curve, ...]:
    """Return precision-recall curves: the mean over the classes at three IoU thresholds, and one curve per class at IoU 0.5.

    With more than 12 classes, only the mean curves are returned. `marks` are the operating points by class name.
    """
    precision = evaluation.precision[..., 0, -1]  # [T, R, K]
    there = np.flatnonzero((precision > -1).any((0, 1)))
    if not len(there):
        return ()
    mean = precision[:, :, there].mean(2)
    lines = {"IoU 0.50": mean[0], "IoU 0.75": mean[5], "IoU 0.50 to 0.95": mean.mean(0)}
    drawn = [_curve("Precision and recall, mean over the classes", lines)]
    least = 1 if marks else 2  # the only class is the mean
    if least <= len(there) <= _LINES:
        drawn.append(_curve("Precision and recall at IoU 0.50", {classes[index]: precision[0, :, index] for index in there}, marks))
    return tuple(drawn)


def _curve(title: str, lines: dict[str, Floats], marks: Marks = MappingProxyType({})) -> Curve:
    return Curve(title, "recall", "precision", {name: (RECALLS.tolist(), values.tolist()) for name, values in lines.items()}, marks=marks)


def error_table(found: Errors) -> Table:
    """Return a table with the number of errors of each kind and the AP50 lost to them."""
    rows = tuple((kind, found.count(kind), found.cost[kind], _MEANING[kind]) for kind in KINDS)
    note = "AP50 cost: increase in AP50 if all errors of the kind, and nothing else, were fixed (TIDE, Bolya et al. 2020)."
    return Table("Errors at IoU 0.50", ("kind", "number", "AP50 cost", "meaning"), rows, note)


def worst_pictures(columns: Columns, found: Errors) -> tuple[Mistake, ...]:
    """Return the images with the most errors, worst first.

    Each missed object adds 1 to the error of an image, and each false positive with a score of at least 0.3 adds its score.
    """
    sure = columns.found.score[found.detections] >= _SURE
    wrong, kinds = found.detections[sure], found.kinds[sure]
    badness = np.bincount(columns.found.picture[wrong], columns.found.score[wrong], len(columns.keys))
    badness += np.bincount(columns.truth.picture[found.missed], minlength=len(columns.keys))
    worst = np.argsort(-badness, kind="stable")[:_SHOWN]
    return tuple(_mistake(columns, int(picture), wrong, kinds, found, float(badness[picture])) for picture in worst if badness[picture] > 0)


def _mistake(columns: Columns, picture: int, wrong: Ints, kinds: Ints, found: Errors, badness: float) -> Mistake:
    own = np.flatnonzero(columns.found.picture[wrong] == picture)
    own = own[np.argsort(-columns.found.score[wrong[own]], kind="stable")]
    missed = found.missed[columns.truth.picture[found.missed] == picture]
    boxes = [(columns.truth.xywh[at], f"missed: {columns.classes[columns.truth.label[at]]}") for at in missed]
    for row, kind in zip(wrong[own], kinds[own], strict=True):
        name, score = columns.classes[columns.found.label[row]], columns.found.score[row]
        boxes.append((columns.found.xywh[row], f"{KINDS[kind]}: {name} {score:.2f}"))
    counts = Counter(caption.partition(":")[0] for _, caption in boxes)
    words = ", ".join(f"{count} {kind}" for kind, count in counts.most_common())
    hidden = f"; {_BOXES} of {len(boxes)} boxes are drawn" if len(boxes) > _BOXES else ""
    drawn = tuple((_corners(xywh), caption) for xywh, caption in boxes[:_BOXES])
    return Mistake((columns.keys[picture],), words + hidden, badness, drawn)


def examples(
    answers: Sequence[Mapping[str, Any]],
    targets: Sequence[Target],
    keys: Sequence[str],
    classes: tuple[str, ...],
    attributes: Attributes = MappingProxyType({}),
) -> Iterator[Example]:
    """Yield one example per image: its detections next to the ground truth, with the number of correct ones at IoU 0.5."""
    truths = [as_target(target, key) for target, key in zip(targets, keys, strict=True)]
    columns = columns_of(keys, classes, truths, [above(answer, _SURE) for answer in answers], attributes)
    matches = match(columns)
    right = matches.ranked.rows[matches.right[:, 0, 0]]
    wrong = matches.ranked.rows[~matches.right[:, 0, 0] & ~matches.ignored[:, 0, 0]]
    counted = np.flatnonzero(~matches.truth_ignored[:, 0])
    for place, key in enumerate(keys):
        pictures = columns.found.picture[right], columns.found.picture[wrong], columns.truth.picture[counted]
        found, more, objects = (int((each == place).sum()) for each in pictures)
        there = np.flatnonzero(columns.truth.picture == place)
        answered = np.flatnonzero(columns.found.picture == place)
        summary = f"{_counts(columns, columns.found.label[answered])}: {found} of {objects} found" + (f", {more} wrong" if more else "")
        truth = _counts(columns, columns.truth.label[there])
        boxes = []
        for row in there[:_EXAMPLE_BOXES]:
            values = {name: int(of[row]) for name, of in columns.truth.attributes.items() if of[row] >= 0}
            boxes.append((_corners(columns.truth.xywh[row]), f"true {classes[columns.truth.label[row]]}{_values(values, attributes)}"))
        for row in answered[:_EXAMPLE_BOXES]:
            values = {name: int(of[row].argmax()) for name, of in columns.found.attributes.items()}
            caption = f"predicted {classes[columns.found.label[row]]} {columns.found.score[row]:.2f}{_values(values, attributes)}"
            boxes.append((_corners(columns.found.xywh[row]), caption))
        yield Example((key,), summary, truth, found == objects and not more, tuple(boxes))


def _values(values: Mapping[str, int], attributes: Attributes) -> str:
    return "".join(f", {name} {attributes[name][index]}" for name, index in values.items())


def _counts(columns: Columns, labels: Ints) -> str:
    counts = Counter(columns.classes[label] for label in labels)
    return ", ".join(f"{name} × {count}" for name, count in counts.most_common()) or "nothing"


def _corners(xywh: Floats) -> Box:
    left, top, width, height = (float(side) for side in xywh)
    return left, top, left + width, top + height
