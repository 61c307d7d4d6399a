"""Check of face pairs whose two images are identical."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from zoo.curation.check.findings import Finding
from zoo.curation.check.items import Opened
from zoo.curation.check.pictures import Facts


def findings(opened: Opened, facts: Sequence[Facts]) -> Iterator[Finding]:
    """Report pairs of pixel-identical images: labelled as two people they are wrong, labelled as one person they are trivial.

    Args:
        opened: samples and pairs.
        facts: properties of each sample's image.
    """
    seen = {item.record.key: (item.key, fact) for item, fact in zip(opened.items, facts, strict=True) if not fact.fault}
    for number, pair in enumerate(opened.pairs, start=1):
        if pair.first not in seen or pair.second not in seen:  # reported as a finding about the image
            continue
        (first, one), (second, other) = seen[pair.first], seen[pair.second]
        if one.digest == other.digest:
            label = "one person" if pair.same else "two people"
            text = f"is paired with {second} as images of {label}, but the two are pixel-identical"
            yield Finding("bad-pair", first, text, f"pair {number}", others=(second,), level="warning" if pair.same else None)
