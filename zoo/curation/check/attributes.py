"""Attributes of boxes: the number of boxes with each value, and values that are probably mistakes."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from zoo.curation.check.findings import Finding
from zoo.curation.check.items import Item
from zoo.data.splits import split_kind

_MOST = 50  # maximum number of values of an attribute that is checked; with more, it is a number or a free text


def value_counts(items: Sequence[Item]) -> dict[str, dict[str, int]]:
    """Return the number of boxes by attribute and value, the most common values first; "(unknown)" stands for boxes without the attribute.

    An attribute with a single value for all boxes, such as a mark that an annotation tool always writes, is left out.
    """
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    boxes = sum(len(item.labels) for item in items)
    for item in items:
        for name, values in item.attributes.items():
            counts[name].update(value for value in values if value)
    several = {name: values for name, values in counts.items() if len(values) > 1}
    unknown = {name: boxes - values.total() for name, values in several.items()}
    return {name: dict(values.most_common()) | ({"(unknown)": unknown[name]} if unknown[name] else {}) for name, values in several.items()}


def findings(items: Sequence[Item], declared: Iterable[str]) -> Iterator[Finding]:
    """Report attributes without values, and values that differ only in case and spaces or don't occur in the training split.

    Args:
        items: the samples.
        declared: names of the attributes that the models predict.
    """
    having = {name for item in items for name, values in item.attributes.items() if any(values)}
    for name in declared:
        if name not in having:
            known = ", ".join(sorted(having)) or "none"
            yield Finding("attribute", name, f"is declared, but no box has a value of it; the attributes in the data are: {known}")
    by_split: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for item in items:
        for name, values in item.attributes.items():
            for split in item.splits or ("",):
                by_split[name][split].update(value for value in values if value)
    for name, splits in by_split.items():
        if 1 < len(set().union(*splits.values())) <= _MOST:
            yield from _spellings(name, splits)
            yield from _untrained(name, splits)


def _spellings(name: str, splits: Mapping[str, set[str]]) -> Iterator[Finding]:
    alike: dict[str, list[str]] = defaultdict(list)
    for value in sorted(set().union(*splits.values())):
        alike["".join(value.split()).casefold()].append(value)
    for values in alike.values():
        if len(values) > 1:
            yield Finding("attribute", name, f"has values that differ only in spelling: {', '.join(map(repr, values))}")


def _untrained(name: str, splits: Mapping[str, set[str]]) -> Iterator[Finding]:
    trained = set().union(*(values for split, values in splits.items() if split_kind(split) == "train"))
    for split, values in splits.items() if trained else ():
        for value in sorted(values - trained):
            yield Finding("attribute", name, f"has the value {value!r} in the split {split} but not in training: it can't be learned")
