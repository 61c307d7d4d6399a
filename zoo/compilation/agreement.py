"""Comparison of a compiled model with the original model in eager float32."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from zoo.errors import ZooError
from zoo.images.preprocess import ImageBatch, as_float
from zoo.models.compiled import Agreement, Compiled, Making
from zoo.models.model import Model
from zoo.task.contract import Task

SAME = 0.995  # minimum fraction of equal predictions
SAME_INT8 = 0.9  # of two graphs with the same 8-bit layers: activations may be rounded to neighbouring values
# maximum error of the first network's outputs, relative to the largest value; int8 is mainly judged by its score, so its limit is loose
_ERRORS = {"fp32": 1e-3, "bf16": 0.2, "fp16": 0.02, "int8": 0.9}


class DisagreementError(ZooError):
    """Error raised when the predictions of a compiled model differ from those of the original model in eager float32."""


def compare(model: Model, compiled: Compiled, batches: Iterable[ImageBatch], task: Task) -> Agreement:
    """Return the agreement, without scores, of a compiled model with the original model, in float32 and evaluation mode on the CPU.

    Both models have one head; of models with several heads, views are compared.
    """
    pictures, error, same, answers = 0, 0.0, 0.0, 0.0
    own = task.answers.for_model(model.classes, model.metadata)
    with torch.no_grad():
        for batch in batches:
            pictures += len(batch)
            wanted, got = model.head.tensors(model.levels(as_float(batch.pixels))), compiled.tensors(batch.pixels)
            errors = [relative_error(*pair) for pair in zip(wanted, got, strict=True)]
            error = float(np.max([error, *errors]))  # NaN if any of them is NaN
            both = (own.split(head.answered(tensors, batch)) for head, tensors in ((model.head, wanted), (compiled.head, got)))
            for pair in zip(*both, strict=True):
                part, whole = own.agreement(*pair)
                same, answers = same + part, answers + whole
    return Agreement(pictures, error, None if answers == 0 else same / answers)


def check(agreement: Agreement, making: Making, task: Task, head: str | None = None) -> None:
    """Raise a `DisagreementError` with the differences and the remedy if a compiled model disagrees with the original model.

    `head` is the name of the compared head in the message; None if it is the only head.
    """
    faults = []
    if not agreement.relative_error <= _ERRORS[making.precision]:  # true for NaN as well
        faults.append(f"outputs are off by {agreement.relative_error:.2g} of the largest value (at most {_ERRORS[making.precision]:g})")
    if making.precision != "int8" and agreement.agreement is not None and agreement.agreement < SAME:  # int8 is judged by its score
        faults.append(f"{100 * agreement.agreement:.2f} % of the predictions are equal (at least {100 * SAME:g} %)")
    if agreement.eager is not None and agreement.compiled is not None:
        lost, allowed = agreement.eager - agreement.compiled, task.scoring.tolerance[making.precision]
        if (lost if making.precision == "int8" else abs(lost)) > allowed:
            faults.append(f"{agreement.score} is {agreement.compiled:.4f} instead of {agreement.eager:.4f} (at most {allowed:g} apart)")
    if faults:
        what = "the model" if head is None else f"the head {head!r} of the model"
        raise DisagreementError(
            f"{what} compiled with engine {making.engine}, {making.precision}, disagrees with eager float32 on "
            f"{agreement.pictures} images: {'; '.join(faults)}. Use another precision (fp32), or engine='eager'"
        )


def relative_error(wanted: Tensor, got: Tensor) -> float:
    """Return the maximum absolute difference relative to the largest absolute value of `wanted`; NaN if any value is NaN."""
    return float((wanted - got).abs().max() / wanted.abs().max().clamp(min=1e-12))
