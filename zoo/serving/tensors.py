"""Predictions as tensors: which a model has, and how those of several pictures are stacked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from zoo.models.model import Model
    from zoo.task.answers import Prediction

COUNTS = "counts"  # number of objects in each picture, beside tensors padded with zeros


def described_outputs(model: Model) -> list[dict[str, Any]]:
    """Return the tensors of a model: name, head, attribute of the prediction, dtype, shape per picture, and whether it is per object.

    The names of a model with several heads begin with that of the head: "parts.boxes".
    """
    found = []
    for head, config in model.config.heads.items():
        for output in config.definition.answers.outputs(config.classes):
            name = f"{head}.{output.name}" if model.is_joint else output.name
            shape = [-1 if length is None else length for length in output.shape]
            per_object = bool(output.shape) and output.shape[0] is None
            found.append(
                {"name": name, "head": head, "attribute": output.name, "dtype": output.dtype, "shape": shape, "per_object": per_object}
            )
    return found


def arrays_of(prediction: Prediction, outputs: Sequence[dict[str, Any]]) -> list[NDArray[Any]]:
    """Return the arrays of one prediction, in the order of `outputs`. Unknown values, such as landmarks, are 0."""
    from zoo.prediction.joint import JointPrediction  # imports torch, which the server's own process doesn't need

    found = []
    for output in outputs:
        one: Any = prediction.heads[output["head"]] if isinstance(prediction, JointPrediction) else prediction
        array = np.asarray(getattr(one, output["attribute"]), output["dtype"])
        found.append(np.asarray(np.nan_to_num(array), order="C"))
    return found


def stacked(outputs: Sequence[dict[str, Any]], pictures: Sequence[Sequence[NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    """Return the tensors of several pictures by name.

    Tensors of objects are padded with zeros to the largest number of objects, and a tensor `counts` (of each head) has the numbers.
    """
    found: dict[str, NDArray[Any]] = {}
    for place, output in enumerate(outputs):
        arrays = [arrays_of_one[place] for arrays_of_one in pictures]
        if not output["per_object"]:
            found[output["name"]] = np.stack(arrays)
            continue
        counts = [len(array) for array in arrays]
        padded = np.zeros((len(arrays), max(counts), *arrays[0].shape[1:]), output["dtype"])
        for row, array in zip(padded, arrays, strict=True):
            row[: len(array)] = array
        found[output["name"]] = padded
        found[output["name"].removesuffix(output["attribute"]) + COUNTS] = np.array(counts, np.int64)
    return found
