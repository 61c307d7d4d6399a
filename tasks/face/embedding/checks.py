"""Checks that embeddings can be compared: shape, finite values, direction and equal length."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.errors import Flaw, InputError


def check_embedding(embedding: NDArray[Any]) -> None:
    """Check that an embedding has a direction.

    Args:
        embedding: embedding of one image, from a model or a file.

    Raises:
        Flaw: the shape isn't [D] with D at least 1, a value isn't finite, or all values are 0, so that no cosine is defined.
    """
    if embedding.ndim != 1 or not len(embedding):
        raise Flaw(f"its embedding has the shape {list(embedding.shape)}; expected [D], one row of numbers")
    if not np.isfinite(embedding).all():
        raise Flaw("its embedding is not finite")
    if not embedding.any():
        raise Flaw(f"all {len(embedding)} numbers of its embedding are 0: it has no direction, so its cosine is undefined")


def check_answer(embedding: NDArray[Any], key: str) -> None:
    """Check that a model's embedding has a direction.

    Args:
        embedding: output of the model for one image.
        key: key of the image, for the message.

    Raises:
        InputError: as in `check_embedding`; the message names the image.
    """
    try:
        check_embedding(embedding)
    except Flaw as flaw:
        raise InputError(f"{key}: {flaw}; the model's weights are damaged, or --precision is too low for them") from None


def check_length(length: int, other: int, whose: str) -> None:
    """Check that two embeddings have the same length.

    Args:
        length: length of an embedding.
        other: length of an earlier embedding.
        whose: location or key of the earlier embedding, for the message.

    Raises:
        Flaw: the lengths differ.
    """
    if length != other:
        raise Flaw(f"its embedding has {length} numbers, that of {whose} has {other}; expected the same length for all")
