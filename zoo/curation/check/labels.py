"""Classes, people, and pictures that no annotation speaks of."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

from zoo.curation.check.findings import Finding
from zoo.curation.check.items import Item, Opened
from zoo.images import decoding as images

RARE = 20  # times fewer samples than the commonest class: mean class scores then hang on a handful of pictures
_OTHERS = (
    ".gif",
    ".heic",
    ".heif",
    ".avif",
    ".jfif",
    ".jpe",
    ".jp2",
    ".jxl",
    ".pbm",
    ".pnm",
    ".pcx",
    ".tga",
    ".psd",
    ".svg",
    ".raw",
    ".dng",
)
_TRAIN = re.compile(r"train(ing)?\d*", re.IGNORECASE)


def class_counts(opened: Opened) -> Counter[str]:
    """Return the number of samples (or boxes) of each class, over all splits, in the data's own order; absent classes have 0."""
    names = dict.fromkeys(name for classes in opened.classes.values() for name in classes)
    counts = Counter(label for item in opened.items for label in item.labels)
    return Counter({name: counts[name] for name in names} | {name: counts[name] for name in counts if name not in names})


def classes(opened: Opened, counts: Mapping[str, int]) -> Iterator[Finding]:
    """Report classes without samples, with far fewer than others, and unknown where the training happens."""
    if opened.whole:
        yield from (
            Finding("empty-class", name, "is a class of the data, and nothing is labelled so", level="warning")
            for name, count in counts.items()
            if not count
        )
    most = max(counts.values(), default=0)
    for name, count in counts.items():
        if 0 < count * RARE <= most:
            common = max(counts, key=lambda other: counts[other])
            yield Finding("unbalanced", name, f"comes {count} times, {common} {most} times: fewer than one for {RARE}")
    yield from _untrained(opened.items)


def _untrained(items: Sequence[Item]) -> Iterator[Finding]:
    by_split: dict[str, set[str]] = defaultdict(set)
    for item in items:
        for split in item.splits:
            by_split[split] |= set(item.labels)
    trained = {name for split, names in by_split.items() if _TRAIN.fullmatch(split) for name in names}
    if not trained:
        return
    for split in sorted(by_split):
        for name in sorted(by_split[split] - trained):
            yield Finding("unknown-label", name, f"is a class in the split {split}, and not in that for training: it can't be learned")


def people(opened: Opened, counts: Mapping[str, int]) -> Iterator[Finding]:
    """Report people with one picture, and people who lie in several splits."""
    for name, count in counts.items():
        if count == 1 and not opened.pairs:
            yield Finding("single-picture", name, "has one picture: no pair of the same person can be made of it")
    splits: dict[str, set[str]] = defaultdict(set)
    for item in opened.items:
        for label in item.labels:
            splits[label] |= set(item.splits)
    for name, where in splits.items():
        if len(where) > 1:
            known = f"is in the splits {' and '.join(sorted(where))}: scores are meant for people that were never seen"
            yield Finding("person-in-splits", name, known, level="warning")


def strays(opened: Opened) -> Iterator[Finding]:
    """Report pictures in the data's folder that no sample and no fault speaks of, and pictures that are passed over by their name."""
    if opened.root is None or not opened.whole or not opened.items or opened.pairs or not opened.filed:
        return
    spoken = "\n".join(f"{fault.key} {fault.reason}" for fault in opened.faults)
    used = {item.file for item in opened.items}
    # a table may lie anywhere; what belongs to the data are the folders of the pictures that it names
    tabular = opened.path != opened.root
    places = {item.file.parent for item in opened.items if item.file is not None} if tabular else {opened.root}
    for file in sorted({path for place in places for path in place.rglob("*") if not path.name.startswith(".")}):
        suffix = file.suffix.lower()
        key = file.relative_to(opened.root).as_posix() if file.is_relative_to(opened.root) else str(file)
        if suffix in _OTHERS and file.is_file():
            yield Finding("wrong-extension", key, f"is passed over: the zoo reads {', '.join(images.SUFFIXES)}, not {suffix}")
        elif suffix in images.SUFFIXES and file not in used and file.is_file() and file.name not in spoken:
            yield Finding("no-annotation", key, "lies in the data's folder, and no annotation speaks of it")
