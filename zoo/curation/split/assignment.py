"""Assignment of groups of samples to parts, as close to the requested shares as the groups allow, for every class."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zoo.errors import InputError


@dataclass(frozen=True)
class Group:
    """Samples that must stay in one part.

    Attributes:
        name: stable name, which determines the group's place in the order together with its size and the seed.
        members: indices of its samples.
        counts: [C] number of images (or boxes) of each class.
    """

    name: str
    members: tuple[int, ...]
    counts: NDArray[np.int64]


def parse_parts(text: str) -> dict[str, float]:
    """Parse shares such as `train=0.8,val=0.2`, or numbers of images such as `train=900,val=100`.

    Returns:
        Share or number of images by part name; shares sum to 1.

    Raises:
        InputError: the text isn't such a list, a name is repeated, the shares don't sum to 1, or shares and numbers are mixed.
    """
    parts: dict[str, float] = {}
    for word in text.split(","):
        name, equals, share = (piece.strip() for piece in word.partition("="))
        try:
            value = float(share)
        except ValueError:
            value = -1.0
        if not equals or not name or name in parts or not (0 < value < 1 or (value >= 1 and value.is_integer())):
            raise InputError(
                f"--parts is {text!r}; expected different names with shares between 0 and 1, such as train=0.8,val=0.2, "
                "or with numbers of images, such as train=900,val=100"
            )
        parts[name] = value
    numbers = [value >= 1 for value in parts.values()]
    if any(numbers) and not all(numbers):
        raise InputError(f"--parts is {text!r}; expected shares below 1 for every part, or a number of images for every part")
    if not any(numbers) and abs(sum(parts.values()) - 1) > 1e-6:
        raise InputError(f"--parts is {text!r}; its shares sum to {sum(parts.values()):g}, expected 1")
    return parts


def as_shares(parts: Mapping[str, float], total: int) -> dict[str, float]:
    """Return the share of each part.

    Args:
        parts: share or number of images by part name.
        total: number of images in the data.

    Raises:
        InputError: the numbers don't sum to the total; the user has to choose which images to omit.
    """
    if all(value < 1 for value in parts.values()):
        return dict(parts)
    if sum(parts.values()) != total:
        raise InputError(
            f"--parts requests {sum(parts.values()):g} images, but there are {total}; expected numbers that sum to the total. "
            "Add another part for the rest, or use fewer images with ?limit="
        )
    return {name: value / total for name, value in parts.items()}


def assign(groups: Sequence[Group], parts: Mapping[str, float], seed: int) -> list[str]:
    """Return the part of each group.

    Based on iterative stratification (Sechidis, Tsoumakas & Vlahavas 2011, "On the stratification of multi-label data"): the class with
    the fewest remaining samples is assigned first, its largest groups before the others. While the original considers only this class,
    each group here goes to the part where chi-squared over all classes decreases most, because an image has many boxes. The result
    depends on names, counts and seed, not on the order of the groups.

    Args:
        groups: all groups, with distinct names.
        parts: share by part name.
        seed: random seed of the split.

    Raises:
        InputError: a part would be empty.
    """
    names = list(parts)
    shares = np.array([parts[name] for name in names])
    order = sorted(range(len(groups)), key=lambda i: (-len(groups[i].members), _lot(groups[i].name, seed)))
    counts = np.stack([groups[i].counts for i in order]) if order else np.zeros((0, 0), np.int64)
    left = counts.sum(0)  # [classes]: not yet assigned
    sizes = np.array([len(groups[i].members) for i in order], np.float64)
    lacking = np.outer(shares, counts.sum(0)).astype(np.float64)  # [parts, classes]
    room = shares * sizes.sum()
    part = np.full(len(order), -1)

    totals, whole = np.maximum(counts.sum(0), 1), max(sizes.sum(), 1)

    def place_group(place: int) -> None:
        # the decrease of chi-squared, Σ (wanted − got)² / wanted over classes and samples: all parts fill up at the same rate
        given = counts[place] / totals
        relative, space = lacking / totals, room / whole
        share = sizes[place] / whole
        gain = ((given * (2 * relative - given)).sum(1) + share * (2 * space - share)) / shares
        best = max(range(len(names)), key=lambda p: (round(float(gain[p]), 12), float(space[p])))
        part[place] = best
        lacking[best] -= counts[place]
        left[:] -= counts[place]
        room[best] -= sizes[place]

    while left.any():
        rarest = int(np.where(left > 0, left, np.iinfo(np.int64).max).argmin())
        holders = np.flatnonzero((part < 0) & (counts[:, rarest] > 0))
        for place in holders[np.argsort(-counts[holders, rarest], kind="stable")]:
            place_group(int(place))
    for place in np.flatnonzero(part < 0):
        place_group(int(place))
    empty = [name for index, name in enumerate(names) if not (part == index).any()]
    if empty:
        raise InputError(
            f"the part {', '.join(empty)} would be empty: there are {len(groups)} groups, the largest of "
            f"{int(sizes.max(initial=0))} samples. Use fewer parts, larger shares or smaller groups"
        )
    result = [""] * len(groups)
    for place, index in enumerate(order):
        result[index] = names[part[place]]
    return result


def _lot(name: str, seed: int) -> str:
    return hashlib.sha256(f"{seed}:{name}".encode("utf-8", "surrogatepass")).hexdigest()
