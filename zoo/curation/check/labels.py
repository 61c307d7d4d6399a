"""Checks of classes, people and pairs, and detection of images without annotations."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from zoo.curation.check.findings import Finding, of_faults
from zoo.curation.check.items import Opened
from zoo.curation.check.pictures import Facts
from zoo.data.folders import Folders, is_other_name, is_picture
from zoo.data.splits import split_kind

RARE = 20  # ratio to the most common class from which a class is reported as rare: its scores depend on very few images


def class_counts(opened: Opened) -> Counter[str]:
    """Return the number of samples (or boxes) of each class over all splits. Classes are in dataset order and include empty ones."""
    names = dict.fromkeys(name for classes in opened.classes.values() for name in classes)
    counts = Counter(label for item in opened.items for label in item.labels)
    return Counter({name: counts[name] for name in names} | {name: counts[name] for name in counts if name not in names})


def classes(opened: Opened, counts: Mapping[str, int]) -> Iterator[Finding]:
    """Report classes that have no samples, have far fewer samples than others, or are missing from the training split."""
    if opened.whole:
        for name in (name for name, count in counts.items() if not count):
            yield Finding("empty-class", name, "is a declared class without samples", level="warning")
    most = max(counts.values(), default=0)
    for name, count in counts.items():
        if 0 < count * RARE <= most:
            common = max(counts, key=lambda other: counts[other])
            yield Finding("unbalanced", name, f"occurs {count} times, but {common} occurs {most} times: a ratio of 1 to {RARE} or less")
    by_split: dict[str, set[str]] = defaultdict(set)
    for item in opened.items:
        for split in item.splits:
            by_split[split] |= set(item.labels)
    trained = {name for split, names in by_split.items() if split_kind(split) == "train" for name in names}
    for split in sorted(by_split) if trained else ():
        for name in sorted(by_split[split] - trained):
            yield Finding("unknown-label", name, f"is a class of the split {split} but not of the training split: it can't be learned")


def people(opened: Opened, counts: Mapping[str, int]) -> Iterator[Finding]:
    """Report people with a single image, and people who are in several splits."""
    for name, count in counts.items():
        if count == 1 and not opened.pairs:
            yield Finding("single-picture", name, "has a single image, so no pair of images of this person can be formed")
    splits: dict[str, set[str]] = defaultdict(set)
    for item in opened.items:
        for label in item.labels:
            splits[label] |= set(item.splits)
    for name, where in splits.items():
        if len(where) > 1:
            known = f"is in the splits {' and '.join(sorted(where))}: people in evaluation data should not appear in training data"
            yield Finding("person-in-splits", name, known, level="warning")


def pairs(opened: Opened, facts: Sequence[Facts]) -> Iterator[Finding]:
    """Report pairs of pixel-identical images. They are wrong if labelled as different people, and trivial if labelled as one person."""
    seen = {item.record.key: (item.key, fact) for item, fact in zip(opened.items, facts, strict=True) if not fact.fault}
    for number, pair in enumerate(opened.pairs, start=1):
        if pair.first not in seen or pair.second not in seen:  # the missing image is reported by another check
            continue
        (first, one), (second, other) = seen[pair.first], seen[pair.second]
        if one.digest == other.digest:
            label = "one person" if pair.same else "two people"
            text = f"is paired with {second} as images of {label}, but the two are pixel-identical"
            yield Finding("bad-pair", first, text, f"pair {number}", others=(second,), level="warning" if pair.same else None)


def strays(opened: Opened) -> Iterator[Finding]:
    """Report images in the dataset folder that have no annotation, files that are ignored, and links that can't be followed."""
    if opened.root is None or not opened.whole or not opened.items or opened.pairs or not opened.filed:
        return
    mentioned = "\n".join(f"{fault.key} {fault.reason}" for fault in opened.faults)
    used = {item.record.path for item in opened.items}
    # a table may be stored anywhere, so search the folders of its images instead of the folder of the table
    tabular = opened.path != opened.root
    places = {item.record.path.parent for item in opened.items if item.record.path is not None} if tabular else {opened.root}
    folders = Folders(opened.root, opened.links)
    unused = {Path(path) for place in places for path in folders.files(place)} - used
    reached = {os.path.realpath(path) for path in used if path is not None} if unused else set()  # the same files through other links
    for file in sorted(path for path in unused if os.path.realpath(path) not in reached):
        key = file.relative_to(opened.root).as_posix() if file.is_relative_to(opened.root) else str(file)
        if is_picture(file):
            if file.name not in mentioned:
                yield Finding("no-annotation", key, "is in the dataset folder but has no annotation")
        elif not is_other_name(file.name):
            yield Finding("passed-over", key, "is ignored, because it isn't an image in a supported format")
    yield from of_faults([fault for fault in folders.faults if fault not in opened.faults], opened.root)
