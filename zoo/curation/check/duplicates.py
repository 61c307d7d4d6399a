"""Exact and near duplicates of images: leaks if they are in different splits, contradictions if their labels differ."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from zoo.curation.check.findings import NEAR, Finding
from zoo.curation.check.hashing import near_pairs
from zoo.curation.check.items import Item
from zoo.curation.check.pictures import Facts

# Mean difference of two thumbnails as a fraction of the lower contrast of the two. Measured: at most 0.03 after resaving or halving, median
# 0.15 after cropping by 2 %; 0.1 to 0.5 for different images within 4 bits (two photos of one person, planes in the sky). Of 13 pairs in
# CIFAR-10 it keeps 5, all true duplicates
_ALIKE = 0.2


def findings(
    items: Sequence[Item], facts: Sequence[Facts], near: int = NEAR, *, people: bool = False, own_copies: bool = False
) -> Iterator[Finding]:
    """Report images that occur more than once.

    Args:
        items: the samples.
        facts: properties of each sample's image.
        near: Hamming radius (bits of 64) within which images are near duplicates; 0 still finds images resaved at high quality.
        people: whether the labels are names of people.
        own_copies: whether the format stores a separate copy of an image for each use, as files of pairs do; exact duplicates without
            other problems are then notes.
    """
    for item in items:
        if len(item.splits) > 1:
            yield Finding("leak", item.key, f"is listed in the splits {' and '.join(item.splits)}")
    groups: dict[bytes, list[int]] = defaultdict(list)
    for index, fact in enumerate(facts):
        if not fact.fault and not fact.blank:  # blank images all look alike, and are reported separately
            groups[fact.digest].append(index)
    for group in groups.values():
        if len(group) > 1:
            found = _same([items[index] for index in group], people)
            yield replace(found, level="note") if own_copies and found.kind == "duplicate" else found
    firsts = [group[0] for group in groups.values()]
    for first, second, bits in _near([facts[index] for index in firsts], near):
        # one image represents each group of exact duplicates; the splits of the whole group count
        yield _alike(_all(items, groups, facts, firsts[first]), _all(items, groups, facts, firsts[second]), bits)


def alike(facts: Sequence[Facts], radius: int) -> Iterator[tuple[int, int]]:
    """Yield index pairs of exact and near duplicates; unreadable and blank images match no other image."""
    firsts: dict[bytes, int] = {}
    for index, fact in enumerate(facts):
        if not fact.fault and not fact.blank and firsts.setdefault(fact.digest, index) != index:
            yield firsts[fact.digest], index
    chosen = list(firsts.values())
    for first, second, _ in _near([facts[index] for index in chosen], radius):
        yield chosen[first], chosen[second]


def _all(items: Sequence[Item], groups: dict[bytes, list[int]], facts: Sequence[Facts], index: int) -> list[Item]:
    return [items[member] for member in groups[facts[index].digest]]


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
    text = f"is a near duplicate of {b.name} ({bits} of 64 bits differ)"
    splits = _splits([*first, *second])
    if len(splits) > 1:
        return Finding("near-leak", a.key, f"{text}, in the splits {' and '.join(splits)}", others=(b.key,))
    if a.boxes is None and a.labels != b.labels and a.labels and b.labels:
        return Finding("near-duplicate", a.key, f"{text}, labelled {_labels({a.labels, b.labels})}", others=(b.key,), level="warning")
    return Finding("near-duplicate", a.key, text, others=(b.key,))


def _near(facts: Sequence[Facts], radius: int) -> Iterator[tuple[int, int, int]]:
    """Yield pairs within the radius whose thumbnails also agree apart from brightness; the hash alone is often wrong."""
    if not facts:
        return
    hashes = np.array([fact.hash for fact in facts], np.uint64)
    for first, second in near_pairs(hashes, radius).tolist():
        a, b = facts[first], facts[second]
        if np.abs(_levels(a) - _levels(b)).mean() <= _ALIKE * min(a.spread, b.spread):
            yield first, second, int(np.bitwise_count(hashes[first] ^ hashes[second]))


def _levels(fact: Facts) -> NDArray[np.float32]:
    pixels = fact.pixels().astype(np.float32)
    return np.asarray(pixels - pixels.mean(), dtype=np.float32)


def _splits(group: Sequence[Item]) -> list[str]:
    return sorted({split for item in group for split in item.splits})


def _labels(labels: set[tuple[str, ...]]) -> str:
    return " and ".join(sorted(repr(", ".join(names)) for names in labels))


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
