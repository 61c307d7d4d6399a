"""The two COCO evaluators: pycocotools, the reference, and faster-coco-eval, which computes the same scores faster."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.system.memory import no_collector
from zoo.tasks.detection.data.columns import Columns, Floats, Ints
from zoo.tasks.detection.metric.matching import ranked
from zoo.tasks.detection.options import Evaluator

_NOTHING = -1.0  # value that the libraries return where there are no objects to find


@dataclass(frozen=True)
class Evaluation:
    """Precision and recall computed by an evaluator; −1 where there are no objects to find.

    The axes are: T, IoU thresholds from 0.5 to 0.95; R, recalls from 0 to 1 in steps of 0.01; K, classes; A, areas (all, small, medium,
    large); M, limits on the number of detections.
    """

    precision: Floats  # interpolated precision, [T, R, K, A, M]
    recall: Floats  # maximum recall, [T, K, A, M]
    max_dets: tuple[int, ...]  # limits on the number of detections per class and image, [M]

    def scores(self) -> dict[str, float | None]:
        """Return the twelve COCO scores; None where there are no objects to find.

        The scores are defined as in `COCOeval.summarize`, which assumes the limits 1, 10 and 100 and returns −1 for others (cocoapi#558).
        """
        everything = self.precision[..., 0, -1]
        sizes = {"s": 1, "m": 2, "l": 3}
        return {
            "AP": _mean(everything),
            "AP50": _mean(everything[0]),
            "AP75": _mean(everything[5]),
            **{f"AP{size}": _mean(self.precision[..., area, -1]) for size, area in sizes.items()},
            **{f"AR{limit}": _mean(self.recall[..., 0, index]) for index, limit in enumerate(self.max_dets)},
            **{f"AR{size}": _mean(self.recall[..., area, -1]) for size, area in sizes.items()},
        }

    def per_class(self, classes: tuple[str, ...]) -> dict[str, dict[str, float | None]]:
        """Return AP, AP50 and AR of every class that has objects, all at the last limit."""
        precision, recall = self.precision[..., 0, -1], self.recall[..., 0, -1]
        return {
            name: {"AP": _mean(precision[..., k]), "AP50": _mean(precision[0, :, k]), "AR": _mean(recall[:, k])}
            for k, name in enumerate(classes)
            if (precision[..., k] > _NOTHING).any()
        }


def evaluate(columns: Columns, evaluator: Evaluator, max_dets: int) -> Evaluation:
    """Evaluate detections with one of the libraries. AR is computed for at most 1, 10 and `max_dets` detections per class and image."""
    limits = (1, 10, max_dets)
    if not columns.keys or not columns.classes:
        empty = np.full((10, 101, len(columns.classes), 4, len(limits)), _NOTHING)
        return Evaluation(empty, empty[:, 0], limits)
    with no_collector(), contextlib.redirect_stdout(io.StringIO()):
        made = _reference(columns) if evaluator == "pycocotools" else _faster(columns, max_dets)
        made.params.maxDets = list(limits)
        made.evaluate()
        made.accumulate()
    return Evaluation(np.asarray(made.eval["precision"]), np.asarray(made.eval["recall"]), limits)


def _mean(values: Floats) -> float | None:
    known = values[values > _NOTHING]
    return float(known.mean()) if known.size else None


def _reference(columns: Columns) -> Any:
    """Return a pycocotools evaluation of the columns. Ids start at 1, because a match with the id 0 counts as no match (cocoapi#507)."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    frame = {
        "images": [{"id": number} for number in range(1, len(columns.keys) + 1)],
        "categories": [{"id": number, "name": name} for number, name in enumerate(columns.classes, start=1)],
    }
    truth, found = columns.truth, columns.found
    objects = _entries(truth.picture, truth.label, truth.xywh, area=truth.area, iscrowd=truth.crowd.astype(np.int64), out=truth.ignored)
    answers = _entries(found.picture, found.label, found.xywh, area=found.area, score=found.score)
    indexed = [COCO(), COCO()]
    for coco, entries in zip(indexed, (objects, answers), strict=True):
        coco.dataset = {**frame, "annotations": entries}
        coco.createIndex()
    made = COCOeval(*indexed, "bbox")
    prepare = made._prepare

    def prepare_with_difficult() -> None:
        prepare()  # sets `ignore` to `iscrowd`; difficult objects must be ignored too
        for entry in made.cocoGt.anns.values():
            entry["ignore"] = int(entry["out"])

    made._prepare = prepare_with_difficult
    return made


def _entries(picture: Ints, label: Ints, xywh: Floats, **more: NDArray[Any]) -> list[dict[str, Any]]:
    """Return annotations as dictionaries, as in COCO's files."""
    names = ("id", "image_id", "category_id", "bbox", *more)
    values = [range(1, len(label) + 1), *(each.tolist() for each in (picture + 1, label + 1, xywh, *more.values()))]
    return [dict(zip(names, row, strict=True)) for row in zip(*values, strict=True)]


def _faster(columns: Columns, max_dets: int) -> Any:
    """Return a faster-coco-eval evaluation of the columns that skips the library's slow loading.

    The library builds an index of dictionaries, and its compiled code visits every pair of image and class, most of which are empty. The
    result of a class depends only on the order of the images that contain it. Therefore, the images are numbered separately for each class
    here, and the evaluation has only as many images as the class with the most images.
    """
    from faster_coco_eval import COCOeval_faster
    from faster_coco_eval.core import mask

    detections, truth, found = ranked(columns, max_dets), columns.truth, columns.found
    count = len(columns.classes)
    truth_cell = truth.picture * count + truth.label
    cells = np.unique(np.concatenate([truth_cell, detections.cell]))
    place = _places(cells % count)  # index of a cell's image among those of its class
    score, boxes, area = (values[detections.rows] for values in (found.score, found.xywh, found.area))
    order = np.argsort(truth_cell, kind="stable")
    bounds = [np.searchsorted(numbers, np.append(cells, np.iinfo(np.int64).max)) for numbers in (truth_cell[order], detections.cell)]
    ranges = {(int(p), int(c) + 1): i for i, (p, c) in enumerate(zip(place, cells % count, strict=True))}

    class Evaluated(COCOeval_faster):  # type: ignore[misc]  # an untyped library
        def _prepare(self) -> None:
            """Pass the compiled code those fields of each object and detection that it reads."""
            self.gt_dataset.clean()
            self.dt_dataset.clean()
            objects = zip(truth.area.tolist(), truth.crowd.tolist(), truth.ignored.tolist(), strict=True)
            kept = [{"id": i, "area": a, "iscrowd": c, "ignore": o} for i, (a, c, o) in enumerate(objects, start=1)]
            pairs = zip(score.tolist(), area.tolist(), strict=True)
            answers = [{"id": i, "score": s, "area": a} for i, (s, a) in enumerate(pairs, start=1)]
            for dataset, numbers, entries in (
                (self.gt_dataset, truth_cell[order], [kept[i] for i in order.tolist()]),
                (self.dt_dataset, detections.cell, answers),
            ):
                pictures = place[np.searchsorted(cells, numbers)].tolist()
                for picture, label, entry in zip(pictures, (numbers % count + 1).tolist(), entries, strict=True):
                    dataset.append_ref(picture, label, entry)
            both = (np.diff(bounds[0]) > 0) & (np.diff(bounds[1]) > 0)
            self._nonempty_iou_pairs = {pair for pair, i in ranges.items() if both[i]}

        def computeIoU(self, imgId: int, catId: int) -> Any:
            """Return the IoU of all detections with all objects of one cell, computed by the library."""
            i = ranges[imgId, catId]
            own = order[bounds[0][i] : bounds[0][i + 1]]
            return mask.iou(boxes[bounds[1][i] : bounds[1][i + 1]], truth.xywh[own], truth.crowd[own].astype(np.uint8))

    made = Evaluated(iouType="bbox")
    made.params.imgIds = list(range(int(place.max(initial=0)) + 1))
    made.params.catIds = list(range(1, count + 1))
    return made


def _places(label: Ints) -> Ints:
    """Return the position of each cell among the cells of its class."""
    order = np.argsort(label, kind="stable")
    ordered = label[order]
    result = np.empty(len(label), np.int64)
    result[order] = np.arange(len(label)) - np.searchsorted(ordered, ordered)
    return result
