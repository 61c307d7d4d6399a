"""Predictions of all heads of a model for one image, as yielded by `zoo.predict`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from zoo.errors import InputError
from zoo.images.drawing import BOXED, caption, enlarged
from zoo.task.answers import Layered, Prediction, Thresholded


@dataclass(frozen=True, eq=False)
class JointPrediction(Mapping[str, Any]):
    """Predictions of a model with several heads for one image. It is a mapping from head name to prediction.

    Attributes:
        key: file or name of the image.
        image: image, [H, W, 3] uint8, RGB.
        heads: prediction of each head by head name, such as `Classification` or `Detections`.
    """

    key: str
    image: NDArray[np.uint8]
    heads: Mapping[str, Prediction]

    def __getitem__(self, name: str) -> Any:
        """Return the prediction of the head with this name."""
        return self.heads[name]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of the heads."""
        return iter(self.heads)

    def __len__(self) -> int:
        """Return the number of heads."""
        return len(self.heads)

    def plot(self) -> Image.Image:
        """Return one image with the predictions of all heads: boxes and landmarks drawn on it, and the other results written below it.

        Small images are enlarged. The plot of a prediction that can't be drawn in this way is placed below.
        """
        picture, lines, others = enlarged(self.image, BOXED), list[str](), list[Image.Image]()
        for name, prediction in self.heads.items():
            if isinstance(prediction, Layered):
                picture = prediction.draw(picture)
                lines += [f"{name}: {line}" for line in prediction.lines()]
            else:
                others.append(prediction.plot())
        return _stacked([caption(np.asarray(picture), lines) if lines else picture, *others])

    def above(self, threshold: float) -> JointPrediction:
        """Return the predictions with another threshold for the heads that have one.

        Raises:
            InputError: no head has a threshold, or the threshold isn't from 0 to 1.
        """
        heads, errors = dict(self.heads), list[InputError]()
        for name, prediction in self.heads.items():
            if isinstance(prediction, Thresholded):
                try:
                    heads[name] = prediction.above(threshold)
                except InputError as error:
                    errors.append(error)
        if all(heads[name] is self.heads[name] for name in heads):
            raise InputError("threshold: no head of this model has one; omit it") if not errors else errors[0]
        return replace(self, heads=heads)

    def to_dict(self) -> dict[str, Any]:
        """Return the predictions as a JSON-serialisable dict: the key, and an entry for each head."""
        heads = {name: prediction.to_dict() for name, prediction in self.heads.items()}
        return {"key": self.key} | {
            name: {entry: value for entry, value in found.items() if entry != "key"} for name, found in heads.items()
        }


def _stacked(pictures: list[Image.Image]) -> Image.Image:
    """Stack pictures vertically into one."""
    if len(pictures) == 1:
        return pictures[0]
    sheet = Image.new("RGB", (max(each.width for each in pictures), sum(each.height for each in pictures)))
    top = 0
    for each in pictures:
        sheet.paste(each, (0, top))
        top += each.height
    return sheet
