"""Pairs of faces whose two pictures are one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from zoo.curation.check.findings import Finding
from zoo.curation.check.items import Opened
from zoo.curation.check.pictures import Facts


def findings(opened: Opened, facts: Sequence[Facts]) -> Iterator[Finding]:
    """Report pairs of one picture, pixel by pixel: said to be two people it is wrong, said to be one it is a point for nothing.

    Args:
        opened: the samples and the pairs.
        facts: what was seen of each sample's picture.
    """
    seen = {item.record.key: (item.key, fact) for item, fact in zip(opened.items, facts, strict=True) if not fact.fault}
    for number, pair in enumerate(opened.pairs, start=1):
        if pair.first not in seen or pair.second not in seen:  # the picture's own finding says why
            continue
        (first, one), (second, other) = seen[pair.first], seen[pair.second]
        if one.digest == other.digest:
            said = "one person" if pair.same else "two people"
            text = f"is paired with {second} as pictures of {said}, and both are the same picture, pixel by pixel"
            yield Finding("bad-pair", first, text, f"pair {number}", others=(second,), level="warning" if pair.same else None)
