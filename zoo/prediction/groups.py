"""Heads that are computed together: one pass of the backbone over the whole images, or over regions that a detector finds in them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from zoo.data.loader import pick_batch_size
from zoo.errors import InputError
from zoo.images.preprocess import Preprocess
from zoo.models.inference import head_answers
from zoo.models.model import Model
from zoo.prediction.joint import JointPrediction
from zoo.prediction.sources import Frame
from zoo.system.hardware import autocast, pick_inference_precision
from zoo.system.precision import Precision
from zoo.task.answers import Answers, Parts, PartsFinder, Prediction, Thresholded


@dataclass(frozen=True)
class HeadGroup:
    """Heads of one pass of a model, which process whole images or the same regions of them.

    Attributes:
        model: the model, in evaluation mode.
        views: a model with one head for each of the heads, by head name.
        preprocess: preprocessing of the images or regions.
        find: detector of the regions; None for heads that process whole images.
        batch_size: maximum number of images or regions per batch.
        precision: precision of matrix multiplications.
    """

    model: Model
    views: dict[str, Model]
    preprocess: Preprocess
    find: PartsFinder | None
    batch_size: int
    precision: Precision

    def parts(self, frame: Frame) -> Parts | None:
        """Return the regions of an image; None if the heads process whole images."""
        return None if self.find is None else self.find(frame.image, frame.key)

    def predictions(self, frames: Sequence[Frame], parts: Sequence[Parts | None]) -> dict[str, list[Prediction]]:
        """Return the predictions of each head by head name, one per image. The regions of all images are processed together."""
        regions = [each for each in parts if each is not None]
        if regions:
            found = self._answers([crop for each in regions for crop in each.crops])
            return {name: list(_assembled(regions, iter(found[name]))) for name in self.views}
        found = self._answers(frames)
        return {
            name: [
                view.definition.answers.prediction(answer, frame.image, frame.key, view.classes, view.metadata)
                for answer, frame in zip(found[name], frames, strict=True)
            ]
            for name, view in self.views.items()
        }

    def _answers(self, images: Sequence[Frame | NDArray[np.uint8]]) -> dict[str, list[Any]]:
        """Return one model output per image and head, in the format of `Answers.split`, by head name."""
        found: dict[str, list[Any]] = {name: [] for name in self.views}
        for first in range(0, len(images), self.batch_size):
            several = images[first : first + self.batch_size]
            prepared = [each.prepared[self.preprocess] if isinstance(each, Frame) else self.preprocess(each) for each in several]
            sizes = [(each.image if isinstance(each, Frame) else each).shape[:2] for each in several]
            batch = self.preprocess.collate(prepared, sizes)
            with torch.inference_mode(), autocast(self.precision, self.model.device):
                for name, answers in head_answers(self.model, batch, [*self.views]).items():
                    found[name] += answers
        return found


def _assembled(regions: Sequence[Parts], answers: Iterator[Any]) -> Iterator[Prediction]:
    for each in regions:
        yield each.prediction(list(islice(answers, len(each.crops))))


def head_groups(
    model: Model, detector: object, faces: str, *, batch_size: int | None, precision: Precision, device: torch.device
) -> list[HeadGroup]:
    """Return the heads of a model in groups that are computed together. The arguments are those of `zoo.predict`.

    Raises:
        InputError: the only head, or all heads, process whole images, but a detector or a choice of faces was passed; or the metadata of
            a head, such as its thresholds, is invalid.
    """
    chosen, finders = pick_inference_precision(precision, model.precision), _finders(model, detector, faces)
    groups: list[HeadGroup] = []
    for way in model.passes():
        size, own = pick_batch_size(batch_size, way.preprocess, device), list[HeadGroup]()
        for name in way.heads:
            group = next((each for each in own if each.find == finders[name]), None)
            if group is None:
                group = HeadGroup(model, {}, way.preprocess, finders[name], size, chosen)
                own.append(group)
            group.views[name] = view = model.view(name)
            view.definition.answers.for_model(view.classes, view.metadata)  # reports invalid metadata before the first image
        groups += own
    return groups


def _finders(model: Model, detector: object, faces: str) -> dict[str, PartsFinder | None]:
    """Return the detector of each head's regions by head name. Detector and choice of faces apply to the heads whose task has regions."""
    heads = {name: head.definition for name, head in model.config.heads.items()}
    if not model.is_joint:
        return {name: task.parts(model, detector, faces) for name, task in heads.items()}
    having = [name for name, task in heads.items() if type(task.answers).parts is not Answers.parts]
    for option, given in (("detector", detector is not None), ("faces", faces != "all")):
        if given and not having:
            raise InputError(f"{option}: the heads {', '.join(heads)} process whole images; omit this option")
    return {name: task.parts(model.view(name), detector, faces) if name in having else None for name, task in heads.items()}


def predictions_of(groups: Sequence[HeadGroup], frames: Sequence[Frame], parts: Sequence[Sequence[Parts | None]]) -> list[Prediction]:
    """Return one prediction per image: that of the only head, or the `JointPrediction` of all heads.

    Args:
        groups: all heads of a model, in groups.
        frames: the images, at least one.
        parts: for each image, the result of `HeadGroup.parts` of every group.
    """
    found: dict[str, list[Prediction]] = {}
    for group, own in zip(groups, zip(*parts, strict=True), strict=True):
        found |= group.predictions(frames, own)
    names = [*groups[0].model.config.heads]
    if len(names) == 1:
        return found[names[0]]
    return [JointPrediction(frame.key, frame.image, {name: found[name][row] for name in names}) for row, frame in enumerate(frames)]


def thresholded(predictions: Sequence[Prediction], threshold: float | None) -> list[Prediction]:
    """Return predictions with another threshold, which replaces those that are stored with the model; None for the latter.

    Raises:
        InputError: the predictions have no threshold, or it isn't from 0 to 1.
    """
    if threshold is None:
        return [*predictions]
    found: list[Prediction] = []
    for prediction in predictions:
        if not isinstance(prediction, Thresholded):
            raise InputError("threshold: the predictions of this model have no threshold; omit it")
        found.append(prediction.above(threshold))
    return found


def min_size_hw(model: Model) -> tuple[int, int] | None:
    """Return the minimum height and width in pixels for `Decoding`, which suits all heads; None for the full size."""
    heads = model.config.heads.values()
    sizes = [None if head.definition.answers.localises else head.preprocess.min_size_hw for head in heads]
    known = [size for size in sizes if size is not None]
    return (max(height for height, _ in known), max(width for _, width in known)) if len(known) == len(sizes) else None
