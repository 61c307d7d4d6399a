"""Which group of samples goes into which part: as near to the wanted shares as groups allow, for every class."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zoo.errors import InputError


@dataclass(frozen=True)
class Group:
    """Samples that stay together.

    Attributes:
        name: stable: it decides, with the seed, where the group comes up.
        members: positions of its samples.
        counts: [C] how many of each class are in them (pictures, or boxes).
    """

    name: str
    members: tuple[int, ...]
    counts: NDArray[np.int64]


def parse_parts(text: str) -> dict[str, float]:
    """Read `train=0.8,val=0.2`.

    Returns:
        Part name to its share; the shares sum to 1.

    Raises:
        InputError: no such list, a name given twice, or shares that don't sum to 1.
    """
    parts: dict[str, float] = {}
    for word in text.split(","):
        name, equals, share = (piece.strip() for piece in word.partition("="))
        try:
            value = float(share)
        except ValueError:
            value = -1.0
        if not equals or not name or name in parts or not 0 < value < 1:
            raise InputError(f"--parts is {text!r}; expected different names with shares between 0 and 1, such as train=0.8,val=0.2")
        parts[name] = value
    if abs(sum(parts.values()) - 1) > 1e-6:
        raise InputError(f"--parts is {text!r}; its shares sum to {sum(parts.values()):g}, expected 1")
    return parts


def assign(groups: Sequence[Group], parts: Mapping[str, float], seed: int) -> list[str]:
    """Return the part of each group.

    After iterative stratification (Sechidis, Tsoumakas & Vlahavas 2011, "On the stratification of multi-label data"): the class of
    which least is left is dealt first, its largest groups before the others. Where theirs looks at this class alone, each group goes
    here to the part where chi-squared over all classes falls most, because boxes come many to a picture. The outcome depends on
    names, counts and seed, not on the order of the groups.

    Args:
        groups: all of them; names differ.
        parts: name to share.
        seed: another seed, another split.

    Raises:
        InputError: a part would get nothing.
    """
    names = list(parts)
    shares = np.array([parts[name] for name in names])
    order = sorted(range(len(groups)), key=lambda i: (-len(groups[i].members), _lot(groups[i].name, seed)))
    counts = np.stack([groups[i].counts for i in order]) if order else np.zeros((0, 0), np.int64)
    sizes = np.array([len(groups[i].members) for i in order], np.float64)
    lacking = np.outer(shares, counts.sum(0)).astype(np.float64)  # [parts, classes]
    room = shares * sizes.sum()
    part = np.full(len(order), -1)

    totals, whole = np.maximum(counts.sum(0), 1), max(sizes.sum(), 1)

    def deal(place: int) -> None:
        # the fall of chi-squared, Σ (wanted − got)² / wanted over classes and samples: it fills all parts at the same pace
        given = counts[place] / totals
        relative, space = lacking / totals, room / whole
        share = sizes[place] / whole
        gain = ((given * (2 * relative - given)).sum(1) + share * (2 * space - share)) / shares
        best = max(range(len(names)), key=lambda p: (round(float(gain[p]), 12), float(space[p])))
        part[place] = best
        lacking[best] -= counts[place]
        room[best] -= sizes[place]

    while True:
        left = np.where(part[:, None] < 0, counts, 0).sum(0)
        if not left.any():
            break
        rarest = int(np.where(left > 0, left, np.iinfo(np.int64).max).argmin())
        holders = np.flatnonzero((part < 0) & (counts[:, rarest] > 0))
        for place in holders[np.argsort(-counts[holders, rarest], kind="stable")]:
            deal(int(place))
    for place in np.flatnonzero(part < 0):
        deal(int(place))
    empty = [name for index, name in enumerate(names) if not (part == index).any()]
    if empty:
        raise InputError(
            f"the part {', '.join(empty)} would be empty: there are {len(groups)} groups, the largest of "
            f"{int(sizes.max(initial=0))} samples. Ask for fewer parts, larger shares or finer groups"
        )
    result = [""] * len(groups)
    for place, index in enumerate(order):
        result[index] = names[part[place]]
    return result


def _lot(name: str, seed: int) -> str:
    return hashlib.sha256(f"{seed}:{name}".encode("utf-8", "surrogatepass")).hexdigest()
