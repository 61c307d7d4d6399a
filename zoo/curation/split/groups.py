"""Groups of samples that must stay in one part: images of one patient, video, burst or person."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from zoo.curation.check.duplicates import alike
from zoo.curation.check.findings import NEAR
from zoo.curation.check.items import Item
from zoo.curation.check.pictures import look_at_all
from zoo.data.tables import rows
from zoo.errors import DataError, Fault, InputError
from zoo.system.progress import Progress


def group_names(items: Sequence[Item], how: str, people: bool, progress: Progress) -> list[str]:
    """Return the name of each sample's group.

    Args:
        items: the samples.
        how: "none"; "near" to group near-duplicate images; "folder" to group the images of a folder; "regex:PATTERN" to group by the
            first capturing group of a pattern, searched in the keys; or a CSV, TSV or Parquet file with the columns path and group.
        people: whether the labels are names of people, whose images always stay together.
        progress: progress bar.

    Raises:
        InputError: `how` is none of these, the pattern is invalid or doesn't match a key, or the table lacks a sample.
        DataError: the table can't be read, or assigns a sample to two groups.
    """
    if people:
        if how != "none":
            raise InputError(f"--groups is {how!r}; expected none: people always stay together, and other groups could be split up")
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
    parent = list(range(len(items)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    for first, second in alike(facts, NEAR):
        a, b = sorted((root(first), root(second)), key=lambda index: items[index].key)
        parent[b] = a
    return [items[root(index)].key for index in range(len(items))]


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
        raise DataError(f"{file} has invalid rows:", faults, "Fix them: an image without a group could be separated from its group.")
    missing = [item.key for item in items if not known.get(item.key)]
    if missing:
        raise InputError(f"{file} has no group for {len(missing)} of {len(items)} images: {', '.join(missing[:5])}")
    return [known[item.key] for item in items]
