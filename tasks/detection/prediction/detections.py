"""Detections of one image, as yielded by `zoo.predict`, and the comparison of two models' detections."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torchvision.ops import box_iou

from zoo.images.drawing import BOXED, enlarged, lettering
from zoo.task.operating import check_threshold

_SURE = 0.5  # minimum score of the boxes that are compared; rounding adds and removes boxes near the score threshold
_DRAWN = 0.3  # minimum score of the boxes that are drawn without an operating point
_SAME = 0.8  # minimum IoU of equal boxes
_NEAR = 0.1  # maximum difference between equal probabilities of attributes

Boxes = Mapping[str, Any]  # arrays `boxes`, `scores` and `labels`; `attributes` is a dict of arrays, if there are any


@dataclass(frozen=True, eq=False)
class Detections:
    """Detected objects of one image.

    Attributes:
        key: file or name of the image.
        image: original image, [H, W, 3] uint8, RGB.
        boxes: boxes, [N, 4] float32, xyxy in pixels of the original image.
        scores: scores, [N] float32, 0–1, in descending order.
        labels: indices into `class_names`, [N] int64.
        class_names: class names of the model.
        attributes: probabilities of each attribute's values by attribute name, [N, values] float32; empty for a model without attributes.
        attribute_values: values of each attribute by attribute name, in the order of the probabilities.
        thresholds: score of each class above which its objects are returned, [K]; None without an operating point.
        unfiltered: detections before the thresholds were applied; None without thresholds.
    """

    key: str
    image: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    attributes: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    attribute_values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    thresholds: NDArray[np.float64] | None = None
    unfiltered: Detections | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        count = len(self.scores)
        if list(self.attributes) != list(self.attribute_values):
            raise ValueError(f"attributes of {self.key} are {list(self.attributes)}; expected those of {list(self.attribute_values)}")
        arrays: dict[str, NDArray[Any]] = {"boxes": self.boxes, "scores": self.scores, "labels": self.labels}
        arrays |= {f"attribute {name!r}": values for name, values in self.attributes.items()}
        expected: dict[str, tuple[tuple[int, ...], Any]] = {
            "boxes": ((count, 4), np.float32),
            "scores": ((count,), np.float32),
            "labels": ((count,), np.int64),
            **{f"attribute {name!r}": ((count, len(values)), np.float32) for name, values in self.attribute_values.items()},
        }
        for name, (shape, dtype) in expected.items():
            array: NDArray[Any] = arrays[name]
            if array.shape != shape or array.dtype != dtype:
                raise ValueError(f"{name} of {self.key} is {array.dtype} of shape {array.shape}; expected {np.dtype(dtype)} {shape}")
            array.setflags(write=False)
        for name, values in self.attributes.items():
            if not ((values >= 0) & (values <= 1)).all():
                raise ValueError(f"the attribute {name!r} of {self.key} has probabilities that are not from 0 to 1")
        if not np.isfinite(self.boxes).all():
            raise ValueError(f"boxes of {self.key} contain values that are not finite")
        if (np.diff(self.scores) > 0).any():
            raise ValueError(f"scores of {self.key} are not in descending order")
        if count and not 0 <= self.labels.min() <= self.labels.max() < len(self.class_names):
            raise ValueError(
                f"labels of {self.key} range from {self.labels.min()} to {self.labels.max()}; "
                f"expected indices of the {len(self.class_names)} class names, from 0"
            )

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def names(self) -> list[str]:
        """Class name of each object."""
        return [self.class_names[label] for label in self.labels]

    @property
    def attribute_names(self) -> list[dict[str, str]]:
        """Most probable value of each attribute, by attribute name, for each object."""
        best = {name: values.argmax(1).tolist() for name, values in self.attributes.items()}
        return [{name: self.attribute_values[name][best[name][row]] for name in best} for row in range(len(self))]

    def at(self, thresholds: NDArray[np.float64]) -> Detections:
        """Return the detections whose scores are above the thresholds of their classes, [K] float64."""
        every = self.unfiltered or self
        found = above(vars(every), thresholds[every.labels])
        return replace(every, **found, thresholds=thresholds, unfiltered=every)

    def above(self, threshold: float) -> Detections:
        """Return the detections with a score above a threshold, which replaces those of the model's operating point.

        A threshold below the model's `score_threshold` has no effect, because the model doesn't return such detections.

        Raises:
            InputError: the threshold isn't from 0 to 1.
        """
        check_threshold(threshold, "threshold")
        return self.at(np.full(len(self.class_names), float(threshold)))

    def plot(self, min_score: float | None = None) -> Image.Image:
        """Return the image with boxes, names, scores and attributes drawn. Small images are first enlarged by an integer factor.

        Args:
            min_score: minimum score of the boxes to draw. By default, all boxes are drawn if the model has an operating point, and those
                with a score of at least 0.3 if it has none: the others are numerous, and only metrics need them.
        """
        return self.draw(enlarged(self.image, BOXED), min_score)

    def draw(self, picture: Image.Image, min_score: float | None = None) -> Image.Image:
        """Return `picture`, the image enlarged by an integer factor, with the objects drawn as in `plot`."""
        if min_score is None:
            min_score = _DRAWN if self.thresholds is None else 0.0
        import supervision as sv  # takes a second to import

        enlarge = picture.width // self.image.shape[1]
        drawn = self.scores >= min_score
        if not drawn.any():
            return picture
        found = sv.Detections(xyxy=self.boxes[drawn] * enlarge, confidence=self.scores[drawn], class_id=self.labels[drawn])
        side = max(picture.size)
        thickness, text = max(1, round(side / 320)), max(0.4, side / 1600)
        objects = zip(self.names, self.scores, self.attribute_names, strict=True)
        labels = [
            ", ".join((f"{name} {score:.2f}", *(f"{attribute} {value}" for attribute, value in values.items())))
            for name, score, values in objects
            if score >= min_score
        ]
        boxed = sv.BoxAnnotator(thickness=thickness).annotate(picture, found)
        padding = max(2, round(side / 240))
        write: Any
        if all(label.isascii() for label in labels):
            write = sv.LabelAnnotator(text_scale=text, text_thickness=max(1, round(side / 800)), text_padding=padding)
        else:  # OpenCV draws ASCII alone
            lines, font = lettering("\n".join(labels), round(28 * text))  # as high as OpenCV's letters
            labels, write = lines.split("\n"), sv.RichLabelAnnotator(text_padding=padding)
            write.font = font
        labelled: Image.Image = write.annotate(boxed, found, labels=labels)
        return labelled

    def lines(self) -> list[str]:
        """Return no text: names and scores are drawn on the image."""
        return []

    def to_dict(self) -> dict[str, Any]:
        """Return the objects as JSON-compatible values, in descending order of score.

        If the model has attributes, `attributes` has one entry per object, with the most probable value of each attribute and its
        probability.
        """
        arrays = {"boxes": self.boxes.tolist(), "scores": self.scores.tolist(), "labels": self.labels.tolist()}
        objects = [
            {name: {"value": value, "probability": float(self.attributes[name][row].max())} for name, value in values.items()}
            for row, values in enumerate(self.attribute_names)
        ]
        return {"key": self.key, **arrays, "names": self.names, **({"attributes": objects} if self.attributes else {})}


def equal_boxes(answer: Boxes, other: Boxes) -> tuple[float, float]:
    """Return the number of confident boxes of a prediction that the other one contains, and the number of all its confident boxes.

    Boxes with a score of at least 0.5 are confident. The other prediction contains such a box if it has a box of the same class with an IoU
    of at least 0.8, at any score, whose attributes have the same probabilities, give or take 0.1.
    """
    sure = answer["scores"] >= _SURE
    overlap = box_iou(torch.from_numpy(answer["boxes"][sure]), torch.from_numpy(other["boxes"])).numpy()
    same = (overlap >= _SAME) & (answer["labels"][sure][:, None] == other["labels"][None])
    for name, values in answer.get("attributes", {}).items():
        same &= np.abs(values[sure][:, None] - other["attributes"][name][None]).max(2) <= _NEAR
    return float(same.any(1).sum()), float(sure.sum())


def above(answer: Boxes, thresholds: NDArray[np.float64] | float) -> dict[str, Any]:
    """Return a prediction without the boxes whose scores aren't above the thresholds, one for each box [N], or one for all."""
    kept = answer["scores"].astype(np.float64) > thresholds
    arrays = {name: answer[name][kept] for name in ("boxes", "scores", "labels")}
    return {**arrays, "attributes": {name: values[kept] for name, values in answer.get("attributes", {}).items()}}
