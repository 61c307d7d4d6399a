"""Groups of samples that must stay in the same split, such as all images of a patient, and their assignment to splits."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from zoo.curation.check.duplicates import alike
from zoo.curation.check.items import Item
from zoo.curation.check.pictures import look_at_all
from zoo.data.tables import rows
from zoo.errors import DataError, Fault, InputError
from zoo.system.progress import Progress


def group_names(items: Sequence[Item], how: str, people: bool, progress: Progress) -> list[str]:
    """Return the group name of each sample.

    With `people`, labels are names of people, the images of each person form a group, and `how` must be "none". Otherwise, `how` is "none"
    (each sample is a group), "near" (near-duplicate images), "folder" (images of a folder), "regex:PATTERN" (the text that the first
    capturing group of a pattern matches in the key), or the path of a CSV, TSV or Parquet file with the columns path and group.
    """
    if people:
        if how != "none":
            raise InputError(f"--groups is {how!r}; expected none, because datasets of people are always grouped by person")
        return [item.labels[0] if item.labels else item.key for item in items]
    if how == "none":
        return [item.key for item in items]
    if how == "folder":
        return [str(PurePosixPath(item.key).parent) for item in items]
    if how == "near":
        return _near(items, progress)
    if how.startswith("regex:"):
        return _matched(items, how.removeprefix("regex:"))
    if Path(how).expanduser().is_file():
        return _tabled(items, Path(how).expanduser())
    raise InputError(f"--groups is {how!r}; expected none, near, folder, regex:PATTERN or a CSV file with the columns path and group")


def _near(items: Sequence[Item], progress: Progress) -> list[str]:
    records = [item.record for item in items]
    facts = list(progress.track(look_at_all(records), "comparing", len(records)))
    first, second = np.array(list(alike(facts)), np.int64).reshape(-1, 2).T
    edges = csr_array((np.ones(len(first)), (first, second)), shape=(len(items), len(items)))
    component = connected_components(edges, directed=False)[1].tolist()
    names: dict[int, str] = {}
    for number, item in zip(component, items, strict=True):
        names[number] = min(names.get(number, item.key), item.key)
    return [names[number] for number in component]


def _matched(items: Sequence[Item], pattern: str) -> list[str]:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise InputError(f"--groups regex:{pattern} is not a valid pattern: {error}") from None
    if compiled.groups < 1:
        raise InputError(f"--groups regex:{pattern} has no capturing group; expected one, such as regex:(patient\\d+)")
    names = []
    for item in items:
        found = compiled.search(item.key)
        if found is None or found[1] is None:
            raise InputError(f"--groups regex:{pattern} does not match {item.key!r}")
        names.append(found[1])
    return names


def _tabled(items: Sequence[Item], file: Path) -> list[str]:
    faults: list[Fault] = []
    known: dict[str, str] = {}
    for row in rows(file, ("path", "group"), (), faults):
        path, group = row.values["path"], row.values["group"]
        if known.setdefault(path, group) != group:
            raise DataError(f"{row.place}: {path} is in the group {group!r}, but in {known[path]!r} in an earlier row; expected one group")
    if faults:
        raise DataError(f"{file} has invalid rows:", faults, "Fix them: an image without a group could be separated from related images.")
    missing = [item.key for item in items if not known.get(item.key)]
    if missing:
        raise InputError(f"{file} has no group for {len(missing)} of {len(items)} images: {', '.join(missing[:5])}")
    return [known[item.key] for item in items]


@dataclass(frozen=True)
class Group:
    """Samples that must stay in the same split."""

    name: str  # unique; together with the size of the group and the seed, it determines the order in which groups are assigned
    members: tuple[int, ...]  # indices of the samples
    counts: NDArray[np.int64]  # number of images (or boxes) of each class, [C]


def parse_parts(text: str) -> dict[str, float]:
    """Parse the sizes of splits: fractions such as `train=0.8,val=0.2`, which sum to 1, or numbers such as `train=900,val=100`."""
    parts: dict[str, float] = {}
    for word in text.split(","):
        name, equals, share = (piece.strip() for piece in word.partition("="))
        try:
            value = float(share)
        except ValueError:
            value = -1.0
        if not equals or not name or name in parts or not (0 < value < 1 or (value >= 1 and value.is_integer())):
            raise InputError(
                f"--parts is {text!r}; expected different names with fractions between 0 and 1, such as train=0.8,val=0.2, "
                "or with numbers of images, such as train=900,val=100"
            )
        parts[name] = value
    numbers = [value >= 1 for value in parts.values()]
    if any(numbers) and not all(numbers):
        raise InputError(f"--parts is {text!r}; expected fractions below 1 for all splits, or numbers of images for all")
    if not any(numbers) and abs(sum(parts.values()) - 1) > 1e-6:
        raise InputError(f"--parts is {text!r}; the fractions sum to {sum(parts.values()):g}; expected 1")
    return parts


def as_shares(parts: Mapping[str, float], total: int) -> dict[str, float]:
    """Return the fraction of each split. Numbers of images must sum to `total`, because images are never dropped implicitly."""
    if all(value < 1 for value in parts.values()):
        return dict(parts)
    if sum(parts.values()) != total:
        raise InputError(
            f"--parts requests {sum(parts.values()):g} images, but there are {total}; expected numbers that sum to the total. "
            "Add a split for the rest, or use fewer images with ?limit="
        )
    return {name: value / total for name, value in parts.items()}


def assign(groups: Sequence[Group], parts: Mapping[str, float], seed: int) -> list[str]:
    """Return the name of the split for each group. Groups must have distinct names, and `parts` maps split names to fractions.

    The method is based on iterative stratification (Sechidis, Tsoumakas & Vlahavas 2011, "On the stratification of multi-label data"). The
    class with the fewest remaining samples is assigned first, starting with its largest groups. The original method chooses a split by this
    class alone. Here, each group is assigned to the split where chi-squared over all classes decreases most, because an image may contain
    boxes of many classes. The result depends on names, counts and seed, but not on the order of the groups.
    """
    names = list(parts)
    shares = np.array([parts[name] for name in names])
    lots = [hashlib.sha256(f"{seed}:{group.name}".encode("utf-8", "surrogatepass")).digest() for group in groups]
    order = sorted(range(len(groups)), key=lambda i: (-len(groups[i].members), lots[i]))
    counts = np.stack([groups[i].counts for i in order]) if order else np.zeros((0, 0), np.int64)
    left = counts.sum(0)  # [classes]: number of unassigned images or boxes
    sizes = np.array([len(groups[i].members) for i in order], np.float64)
    lacking = np.outer(shares, counts.sum(0)).astype(np.float64)  # [splits, classes]
    room = shares * sizes.sum()
    part = np.full(len(order), -1)

    totals, whole = np.maximum(counts.sum(0), 1), max(sizes.sum(), 1)

    def place_group(place: int) -> None:
        # the decrease of chi-squared, Σ (wanted − got)² / wanted over classes and samples, fills all splits at the same rate
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
            f"the split {', '.join(empty)} would be empty: there are {len(groups)} groups, the largest with "
            f"{int(sizes.max(initial=0))} samples. Use fewer splits, larger fractions or smaller groups"
        )
    part_of = dict(zip(order, part.tolist(), strict=True))
    return [names[part_of[index]] for index in range(len(groups))]
