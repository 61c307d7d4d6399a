"""What an embedding must be before it can be compared with another one."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.errors import Flaw, InputError


def check_embedding(embedding: NDArray[Any]) -> None:
    """Refuse what is no direction in space.

    Args:
        embedding: of one picture, as a model or a file gives it.

    Raises:
        Flaw: anything but [D] numbers, D at least 1; numbers that aren't finite; only zeros, which have a cosine with nothing.
    """
    if embedding.ndim != 1 or not len(embedding):
        raise Flaw(f"its embedding has the shape {list(embedding.shape)}; expected a row of numbers")
    if not np.isfinite(embedding).all():
        raise Flaw("its embedding is not finite")
    if not embedding.any():
        raise Flaw(f"all {len(embedding)} numbers of its embedding are 0: it has no direction, and a cosine with nothing")


def check_answer(embedding: NDArray[Any], key: str) -> None:
    """Refuse an embedding of a model that is no direction in space.

    Args:
        embedding: the answer.
        key: of the picture.

    Raises:
        InputError: as `check_embedding`, with the picture.
    """
    try:
        check_embedding(embedding)
    except Flaw as flaw:
        raise InputError(f"{key}: {flaw}; the model's weights are damaged, or --precision is too low for them") from None


def check_length(length: int, other: int, whose: str) -> None:
    """Refuse embeddings of two lengths.

    Args:
        length: of an embedding.
        other: of one that came before.
        whose: the place or key of that one.

    Raises:
        Flaw: they differ.
    """
    if length != other:
        raise Flaw(f"its embedding has {length} numbers, that of {whose} has {other}; expected one length for all")
