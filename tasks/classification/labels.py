"""Labels in tables: numbers that became fractions, and cells with several labels, which need a multi-label model."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

from zoo.data.classes import whole_numbers

_PHRASES = {"no", "not", "non", "none", "without", "with", "other", "and", "or", "of"}  # "no mask" isn't the two labels "no" and "mask"


def several_labels(labels: Iterable[str], known: Collection[str] = ()) -> dict[str, tuple[str, ...]]:
    """Return the labels that are probably several labels of one image, with their parts.

    They are lists (`['cat', 'dog']`), numbers (`3 17`), and labels whose parts, separated by `|`, `;`, commas or spaces, are labels of
    other images: all parts of most labels that have several, or at least one part of each. Names of several words, such as "tiger shark"
    and "ski mask" among those of ImageNet, are therefore not lists. Parts separated by `|`, `;` or commas may also occur in other lists
    only. Labels in `known` are never lists.
    """
    unknown = set(labels) - set(known)
    found = {label: parts for label in unknown if len(parts := list_parts(label)) > 1}
    for separator in (r"[|;]", ",", r"\s+"):
        split = {label: tuple(part for part in map(str.strip, re.split(separator, label)) if part) for label in unknown}
        split = {label: parts for label, parts in split.items() if len(parts) > 1 and not _PHRASES & set(map(str.casefold, parts))}
        lists = _are_lists(list(split.values()), unknown - set(split), separator)
        for label, parts in split.items():
            if lists or all(re.fullmatch(r"\d+", part) for part in parts):
                found.setdefault(label, parts)
    return found


def _are_lists(split: Sequence[tuple[str, ...]], single: Collection[str], separator: str) -> bool:
    """Return whether labels that can be split are lists of labels. `split` has their parts, `single` the labels that can't be split."""
    if 2 * sum(all(part in single for part in parts) for parts in split) > len(split):
        return True
    if all(any(part in single for part in parts) for parts in split):
        return True
    used = Counter(part for parts in split for part in set(parts))
    places = {(part, place) for parts in split for place, part in enumerate(parts)}
    moving = len(places) > len(used)  # as in "a, b" and "b, c", unlike "Paris, France" and "Lyon, France"
    return all(any(used[part] > 1 for part in parts) for parts in split) and (separator == r"[|;]" or (separator == "," and moving))


def list_parts(label: str) -> tuple[str, ...]:
    """Return the parts of a label that is written as a list; empty if it isn't."""
    if not (label[:1] == "[" and label[-1:] == "]"):
        return ()
    return tuple(part for part in re.split(r"[\s,]*['\"]?\s*,\s*['\"]?|['\"]\s+['\"]", label[1:-1].strip("'\" ")) if part)


def renamed_labels(labels: Collection[str]) -> tuple[dict[str, str], str]:
    """Return new names of labels by old names, and a note: whole numbers instead of 0.0 and 1.0, and the only entries of lists."""
    names = whole_numbers(labels)
    if not names and labels and all(len(list_parts(label)) == 1 for label in labels):
        names = {label: list_parts(label)[0] for label in labels}
    example = next(iter(sorted(names)), "")
    return names, f"labels are read as {names[example]} instead of {example}, and so on" if names else ""


MULTI_LABEL = "build it with multi_label=True (--multi-label)"


def explain(label: str, parts: Mapping[str, tuple[str, ...]], remedy: str, multi_label: str = MULTI_LABEL) -> str:
    """Return the message about a label that is several labels.

    `remedy` states how to declare that it is the name of one class, and `multi_label` how several labels of an image can be used.
    """
    return (
        f"the label {label!r} looks like several labels ({', '.join(parts[label][:5])}), but the model predicts one class per image; for "
        f"several, {multi_label}. If it is the name of one class, {remedy}"
    )
