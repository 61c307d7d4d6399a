"""Whether a compiled model answers as its model does in eager float32."""

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

SAME = 0.995  # the part of the answers that must be the same
# of the first network's numbers, as a part of the largest; in int8 the score is what counts, but numbers that are nothing are wrong anyway
_ERRORS = {"fp32": 1e-3, "bf16": 0.2, "int8": 0.9}


class DisagreementError(ZooError):
    """A compiled model answers otherwise than eager float32 does."""


def compare(model: Model, compiled: Compiled, batches: Iterable[ImageBatch], task: Task) -> Agreement:
    """Compare the answers of a compiled model with those of its model in eager float32.

    Args:
        model: the model, in evaluation mode on the CPU.
        compiled: the compiled model.
        batches: the pictures to compare on, prepared.
        task: the task of both, which counts equal answers.

    Returns:
        The agreement, without scores.
    """
    pictures, error, same, answers = 0, 0.0, 0.0, 0.0
    with torch.no_grad():
        for batch in batches:
            pictures += len(batch)
            wanted, got = model.head.tensors(model.levels(as_float(batch.pixels))), compiled.tensors(batch.pixels)
            errors = [relative_error(*pair) for pair in zip(wanted, got, strict=True)]
            error = float(np.max([error, *errors]))  # NaN where one is
            both = (task.answers.split(head.answered(tensors, batch)) for head, tensors in ((model.head, wanted), (compiled.head, got)))
            for pair in zip(*both, strict=True):
                part, whole = task.answers.agreement(*pair)
                same, answers = same + part, answers + whole
    return Agreement(pictures, error, None if answers == 0 else same / answers)


def check(agreement: Agreement, making: Making, task: Task) -> None:
    """Refuse a model that answers otherwise.

    Raises:
        DisagreementError: saying by how much, and what to do.
    """
    faults = []
    if not agreement.relative_error <= _ERRORS[making.precision]:  # NaN isn't either
        faults.append(f"numbers are off by {agreement.relative_error:.2g} of the largest (at most {_ERRORS[making.precision]:g})")
    if making.precision != "int8" and agreement.agreement is not None and agreement.agreement < SAME:  # of int8 the score is promised
        faults.append(f"{100 * agreement.agreement:.2f} % of the answers are the same (at least {100 * SAME:g} %)")
    if agreement.eager is not None and agreement.compiled is not None:
        lost, allowed = agreement.eager - agreement.compiled, task.scoring.tolerance[making.precision]
        if (lost if making.precision == "int8" else abs(lost)) > allowed:
            faults.append(f"{agreement.score} is {agreement.compiled:.4f} instead of {agreement.eager:.4f} (at most {allowed:g} apart)")
    if faults:
        raise DisagreementError(
            f"the model compiled with engine {making.engine}, {making.precision}, doesn't answer as it does in eager float32, on "
            f"{agreement.pictures} pictures: {'; '.join(faults)}. Use another precision (fp32), or engine='eager'"
        )


def relative_error(wanted: Tensor, got: Tensor) -> float:
    """Return the largest difference as a part of the largest number; NaN where one of them isn't a number."""
    return float((wanted - got).abs().max() / wanted.abs().max().clamp(min=1e-12))
