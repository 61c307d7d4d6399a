"""The twelve COCO numbers, and AP, AP50 and AR per class, by faster-coco-eval or by pycocotools."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from zoo.errors import InputError
from zoo.garbage import no_collector
from zoo.task import MetricResult
from zoo.tasks.detection.targets import Target, as_target

Evaluator = Literal["faster", "pycocotools"]
NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")


class CocoMetric:
    """Collects pictures by key, and evaluates them as COCO does.

    AP is counted over at most 100 answers per picture, whatever the model's limit: other limits are other numbers under the same
    name, and pycocotools answers -1 for some (cocoapi#558). Crowds count as in COCO; difficult objects (VOC) are neither found nor
    missed.
    """

    def __init__(self, classes: tuple[str, ...], evaluator: Evaluator = "faster") -> None:
        """Start with no pictures.

        Args:
            classes: the model's class names; labels count in their order.
            evaluator: "faster" for faster-coco-eval, "pycocotools" for the reference; the numbers are the same.
        """
        self._classes, self._evaluator = classes, evaluator
        self._pictures: dict[str, tuple[Mapping[str, NDArray[Any]], Target]] = {}

    def update(self, answers: Sequence[Any], targets: Sequence[Any], keys: Sequence[str]) -> None:
        """Take a batch of answers (`boxes`, `scores`, `labels`) and targets, in pixels of the original pictures."""
        for answer, target, key in zip(answers, targets, keys, strict=True):
            self._pictures[key] = (answer, as_target(target, key))

    def state(self) -> Any:
        """Return the pictures."""
        return self._pictures

    def merge(self, states: Sequence[Any]) -> None:
        """Bring the pictures of several processes together; one that several have seen counts once."""
        self._pictures = {key: picture for state in states for key, picture in state.items()}

    def compute(self, replicates: int = 0) -> MetricResult:
        """Evaluate all pictures, in the order of their keys, so that batches and processes make no difference."""
        with no_collector():
            return self._evaluated()

    def _evaluated(self) -> MetricResult:
        truth: list[dict[str, Any]] = []
        found: list[dict[str, Any]] = []
        for image_id, key in enumerate(sorted(self._pictures), start=1):
            answer, target = self._pictures[key]
            truth += _annotations(image_id, target)
            found += _detections(image_id, answer)
        categories = [{"id": index, "name": name} for index, name in enumerate(self._classes, start=1)]
        images = [{"id": image_id} for image_id in range(1, len(self._pictures) + 1)]
        for entries in (truth, found):
            for number, entry in enumerate(entries, start=1):
                entry["id"] = number
        return _scored({"images": images, "categories": categories}, truth, found, self._evaluator)


def _annotations(image_id: int, target: Target) -> list[dict[str, Any]]:
    columns = (target[name].tolist() for name in ("labels", "area", "iscrowd", "difficult"))
    return [
        {
            "image_id": image_id,
            "category_id": label + 1,
            "bbox": box,
            "area": area,
            "iscrowd": int(crowd),
            "difficult": difficult,
        }
        for box, label, area, crowd, difficult in zip(_xywh(target["boxes"]), *columns, strict=True)
    ]


def _detections(image_id: int, answer: Mapping[str, NDArray[Any]]) -> list[dict[str, Any]]:
    columns = zip(_xywh(answer["boxes"]), answer["scores"].tolist(), answer["labels"].tolist(), strict=True)
    return [
        {"image_id": image_id, "category_id": label + 1, "bbox": box, "score": score, "area": box[2] * box[3], "iscrowd": 0}
        for box, score, label in columns
    ]


def _xywh(boxes: NDArray[np.float32]) -> list[list[float]]:
    corners = boxes.astype(np.float64)
    boxes_xywh: list[list[float]] = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1).tolist()
    return boxes_xywh


def coco_scores(gt: Mapping[str, Any], detections: Sequence[Mapping[str, Any]], evaluator: Evaluator = "faster") -> MetricResult:
    """Evaluate boxes given in COCO's own form.

    Args:
        gt: `images`, `categories` and `annotations` (`bbox` xywh in pixels; `area` by default the box's, `iscrowd` and `difficult`
            by default false), as in a COCO instances file. Ids may be any numbers, 0 among them.
        detections: dicts with `image_id`, `category_id`, `bbox` xywh and `score`, as in a COCO results file.
        evaluator: which library counts.

    Returns:
        The twelve numbers by `NAMES`, None where the data has nothing to measure (COCO's -1); per class, of those that occur,
        AP, AP50 and AR (AR100).

    Raises:
        InputError: a detection for a picture that isn't there.
    """
    known = {image["id"] for image in gt["images"]}
    strangers = sorted({str(found["image_id"]) for found in detections} - {str(image_id) for image_id in known})
    if strangers:
        raise InputError(f"detections name {len(strangers)} pictures that the ground truth doesn't have: {', '.join(strangers[:8])}")
    frame = {"images": list(gt["images"]), "categories": list(gt["categories"])}
    return _scored(frame, _numbered(gt["annotations"]), _numbered(detections), evaluator)


def _scored(frame: Mapping[str, Any], truth: list[dict[str, Any]], found: list[dict[str, Any]], evaluator: Evaluator) -> MetricResult:
    """Evaluate annotations and detections that are numbered from 1 and have area and iscrowd; the libraries write into them."""
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = _evaluation(evaluator, {**frame, "annotations": truth}, {**frame, "annotations": found})
        if not evaluation.params.imgIds or not evaluation.params.catIds:
            return MetricResult(dict.fromkeys(NAMES), details={"evaluator": evaluator})
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    scores = {name: _defined(value) for name, value in zip(NAMES, evaluation.stats, strict=True)}
    names = {category["id"]: str(category["name"]) for category in frame["categories"]}
    return MetricResult(scores, _per_class(evaluation, names), {"evaluator": evaluator})


def _evaluation(evaluator: Evaluator, truth: dict[str, Any], found: dict[str, Any]) -> Any:
    """Return a library's evaluation that also leaves out difficult objects; its own preparation overwrites `ignore` with `iscrowd`."""
    if evaluator == "pycocotools":
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval

        made = COCOeval(_index(COCO, truth), _index(COCO, found), "bbox")
    else:
        from faster_coco_eval import COCO as FasterCOCO
        from faster_coco_eval import COCOeval_faster

        made = COCOeval_faster(_index(FasterCOCO, truth), _index(FasterCOCO, found), "bbox")
    prepare = made._prepare

    def prepare_with_difficult() -> None:
        prepare()
        for annotation in made.cocoGt.anns.values():
            annotation["ignore"] = int(annotation["iscrowd"] or annotation.get("difficult", False))

    made._prepare = prepare_with_difficult
    return made


def _numbered(entries: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return copies with ids from 1, which COCOeval needs: it takes a match with id 0 for none (cocoapi#507)."""
    return [
        {"iscrowd": 0, "area": entry["bbox"][2] * entry["bbox"][3], **entry, "id": number} for number, entry in enumerate(entries, start=1)
    ]


def _index(kind: Any, content: dict[str, Any]) -> Any:
    coco = kind()
    coco.dataset = content
    coco.createIndex()
    return coco


def _defined(value: float) -> float | None:
    return float(value) if value > -1 else None


def _per_class(evaluation: Any, names: Mapping[Any, str]) -> dict[str, dict[str, float | None]]:
    precision = evaluation.eval["precision"][..., 0, -1]  # [IoU, recall, class]: all areas, 100 answers
    recall = evaluation.eval["recall"][..., 0, -1]  # [IoU, class]
    per_class: dict[str, dict[str, float | None]] = {}
    for index, category in enumerate(evaluation.params.catIds):
        of_class = precision[:, :, index]
        if (of_class > -1).any():
            values = {"AP": of_class.mean(), "AP50": of_class[0].mean(), "AR": recall[:, index].mean()}
            per_class[names[category]] = {name: float(value) for name, value in values.items()}
    return per_class
