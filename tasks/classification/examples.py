"""Example answers of a classifier next to the ground truth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.task.examples import Example


def examples(
    answers: Sequence[NDArray[np.float32]], targets: Sequence[Any], keys: Sequence[str], classes: tuple[str, ...]
) -> Iterator[Example]:
    """Yield the most probable class of each image next to the true one.

    Args:
        answers: logits of each image, [K].
        targets: class of each image; None if unknown.
        keys: keys of the images.
        classes: K class names.
    """
    for logits, target, key in zip(answers, targets, keys, strict=True):
        best = int(logits.argmax())
        probability = 1 / np.exp(logits.astype(np.float64) - logits[best]).sum()
        truth = "" if target is None else classes[int(target)]
        yield Example((key,), f"{classes[best]} ({probability:.0%})", truth, None if target is None else best == int(target))
