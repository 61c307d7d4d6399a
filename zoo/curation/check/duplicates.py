"""Detection of duplicate and near-duplicate images, including those in different splits or with different labels."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from zoo.curation.check.findings import NEAR, Finding
from zoo.curation.check.items import Item
from zoo.curation.check.pictures import THUMB, Facts

# Maximum mean difference between the thumbnails of near duplicates, relative to the lower contrast of the two. Measured: at most 0.03
# after resaving or halving an image, 0.15 (median) after cropping by 2 %, and 0.1 to 0.5 for different images with a Hamming distance of up
# to 4 (two photos of one person, planes in the sky). Of 13 such pairs in CIFAR-10, 5 are below the maximum, all of them true duplicates.
_ALIKE = 0.2
_BITS = 64
_BLOCK = 4_000_000  # maximum number of pairs compared at once: 32 MB


def findings(items: Sequence[Item], facts: Sequence[Facts], near: int, *, people: bool, own_copies: bool) -> Iterator[Finding]:
    """Report duplicate and near-duplicate images, whose 64-bit hashes have a Hamming distance of at most `near`.

    With `people`, labels are names of people. With `own_copies`, the format stores a copy of an image for each use, as files of pairs do,
    and exact duplicates without other problems are reported as notes.
    """
    for item in items:
        if len(item.splits) > 1:
            yield Finding("leak", item.key, f"is listed in the splits {' and '.join(item.splits)}")
    groups = _identical(facts)
    for group in groups:
        if len(group) > 1:
            found = _same([items[index] for index in group], people)
            yield replace(found, level="note") if own_copies and found.kind == "duplicate" else found
    for first, second, bits in _near([facts[group[0]] for group in groups], near):
        # only the first image of each group of exact duplicates is compared, but the splits of the whole group are considered
        yield _alike([items[index] for index in groups[first]], [items[index] for index in groups[second]], bits)


def alike(facts: Sequence[Facts]) -> Iterator[tuple[int, int]]:
    """Yield pairs of indices of duplicate and near-duplicate images. Unreadable and blank images are ignored."""
    groups = _identical(facts)
    yield from ((group[0], other) for group in groups for other in group[1:])
    for first, second, _ in _near([facts[group[0]] for group in groups], NEAR):
        yield groups[first][0], groups[second][0]


def _identical(facts: Sequence[Facts]) -> list[list[int]]:
    """Return groups of indices of images with identical pixels, except unreadable and blank ones, which all look alike."""
    groups: dict[bytes, list[int]] = defaultdict(list)
    for index, fact in enumerate(facts):
        if not fact.fault and not fact.blank:
            groups[fact.digest].append(index)
    return list(groups.values())


def _same(group: Sequence[Item], people: bool) -> Finding:
    splits, labels = _splits(group), {item.labels for item in group}
    others = tuple(item.key for item in group[1:])
    text = f"is pixel-identical to {_listed([item.name for item in group[1:]])}"
    differ = len(labels) > 1 and all(item.boxes is None and item.labels for item in group)
    if len(splits) > 1:
        also = f", labelled {_labels(labels)}" if differ else ""
        return Finding("leak", group[0].key, f"{text}, in the splits {' and '.join(splits)}{also}", others=others)
    if differ:
        return Finding("two-names" if people else "two-labels", group[0].key, f"{text}, labelled {_labels(labels)}", others=others)
    return Finding("duplicate", group[0].key, text, others=others)


def _alike(first: Sequence[Item], second: Sequence[Item], bits: int) -> Finding:
    a, b = first[0], second[0]
    text = f"is a near duplicate of {b.name} (Hamming distance {bits} of 64)"
    splits = _splits([*first, *second])
    if len(splits) > 1:
        return Finding("near-leak", a.key, f"{text}, in the splits {' and '.join(splits)}", others=(b.key,))
    if a.boxes is None and a.labels != b.labels and a.labels and b.labels:
        return Finding("near-duplicate", a.key, f"{text}, labelled {_labels({a.labels, b.labels})}", others=(b.key,), level="warning")
    return Finding("near-duplicate", a.key, text, others=(b.key,))


def _near(facts: Sequence[Facts], radius: int) -> Iterator[tuple[int, int, int]]:
    """Yield pairs of near duplicates as (first index, second index, Hamming distance).

    Hashes must be within the radius, and thumbnails must be similar apart from brightness, because the hash alone is often wrong.
    """
    if not facts:
        return
    hashes = np.array([fact.hash for fact in facts], np.uint64)
    for first, second in near_pairs(hashes, radius).tolist():
        a, b = facts[first], facts[second]
        if np.abs(_levels(a) - _levels(b)).mean() <= _ALIKE * min(a.spread, b.spread):
            yield first, second, int(np.bitwise_count(hashes[first] ^ hashes[second]))


def near_pairs(hashes: NDArray[np.uint64], radius: int) -> NDArray[np.int64]:
    """Return all pairs of hashes ([N] uint64) whose Hamming distance is at most `radius`.

    The search is exhaustive. The 64 bits are divided into radius + 1 bands. Two hashes within the radius differ in fewer bits than there
    are bands, so they are equal in at least one band. Therefore, only hashes with an equal band are compared (Norouzi, Punjani and Fleet
    2012, "Fast search in Hamming space with multi-index hashing"). The result is sorted pairs of indices [P, 2], the lower index first.
    """
    pairs = [np.zeros((0, 2), np.int64)]
    edges = np.linspace(0, _BITS, radius + 2).round().astype(int)
    for low, high in itertools.pairwise(edges):
        band = (hashes >> np.uint64(low)) & np.uint64(2 ** int(high - low) - 1)
        order = np.argsort(band, kind="stable")
        starts = np.flatnonzero(np.diff(band[order])) + 1
        for group in np.split(order, starts):
            if len(group) > 1:
                pairs += _within(hashes, group, radius)
    return np.unique(np.concatenate(pairs), axis=0)


def _within(hashes: NDArray[np.uint64], group: NDArray[np.int64], radius: int) -> list[NDArray[np.int64]]:
    """Return the pairs of a group within the radius. Distances are computed block by block to limit memory use."""
    members, found = np.sort(group), []
    rows = max(1, _BLOCK // len(members))
    for start in range(0, len(members), rows):
        distance = np.bitwise_count(hashes[members[start : start + rows], None] ^ hashes[members[None, start:]])
        first, second = np.nonzero(np.triu(distance <= radius, 1))
        found.append(np.stack([members[start + first], members[start + second]], 1))
    return found


def _levels(fact: Facts) -> NDArray[np.float32]:
    pixels = np.frombuffer(fact.thumb, np.uint8).reshape(THUMB, THUMB).astype(np.float32)
    return np.asarray(pixels - pixels.mean(), dtype=np.float32)


def _splits(group: Sequence[Item]) -> list[str]:
    return sorted({split for item in group for split in item.splits})


def _labels(labels: set[tuple[str, ...]]) -> str:
    return " and ".join(sorted(repr(", ".join(names)) for names in labels))


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
