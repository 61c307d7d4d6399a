"""Split a dataset, and write the result as a new dataset."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from zoo.curation.convert import Pictures, gather, open_whole, write_content
from zoo.curation.grouping import Group, as_shares, assign, group_names
from zoo.data.formats import DataRef
from zoo.errors import Fault, InputError
from zoo.system.progress import Progress
from zoo.task.contract import Task


@dataclass(frozen=True)
class Divided:
    """Result of `split`. The keys of all mappings are split names, except the outer keys of `classes`."""

    data: Mapping[str, str]  # dataset string for opening each split
    shares: Mapping[str, float]  # requested fraction of samples
    pictures: Mapping[str, int]  # number of images
    classes: Mapping[str, Mapping[str, int]]  # number of images (or boxes) by class; for people, their number under the key "people"
    groups: int
    skipped: tuple[Fault, ...]  # annotation errors that were skipped because of `skip_bad`
    warnings: tuple[str, ...]  # messages about deviations from the requested split

    def to_dict(self) -> dict[str, Any]:
        """Return the result as printed by `zoo data split --json`."""
        return {**vars(self), "skipped": [fault.to_dict() for fault in self.skipped]}


def split(
    source: str | Path,
    target: str,
    task: Task,
    parts: Mapping[str, float],
    *,
    groups: str = "none",
    seed: int = 0,
    pictures: Pictures = "link",
    lossy: bool = False,
    skip_bad: bool = False,
    progress: Progress | None = None,
    warn: Callable[[str], None] = lambda text: None,
) -> Divided:
    """Split a dataset, stratified by class, and write it as a new dataset. Groups and people are never divided.

    `parts` are fractions or numbers of images by split name. They are met as closely as groups (see `group_names`) and classes allow.
    `target` is a new or empty folder; use `scheme:folder` to write a format other than that of the source. `warn` receives a message
    about each deviation from the request, before files are written. For the other arguments, see `convert`.
    """
    progress = progress or Progress(enabled=False)
    opened = open_whole(source, task, skip_bad, progress)
    ref = DataRef.of(source)
    found = sorted({name for item in opened.items for name in item.splits})
    if len(found) > 1 or (found and ref.split is None):
        raise InputError(f"dataset {ref.text!r} already has the splits {', '.join(found)}; choose one with ?split={found[0]}")
    items = [replace(item, splits=()) for item in opened.items]
    content = gather(replace(opened, items=items), task)
    names = group_names(items, groups, task.data.open_set, progress)
    # people are not stratified like classes, because each person is in one split only
    classes = () if task.data.open_set else content.classes
    targets = [picture.record.target if classes else None for picture in content.pictures]
    labels = [() if target is None else task.data.labels(target) for target in targets]
    made = _groups(names, labels, len(classes))
    shares = as_shares(parts, len(items))
    chosen = assign(made, shares, seed)
    part_of = {member: part for group, part in zip(made, chosen, strict=True) for member in group.members}
    divided = [replace(picture, splits=(part_of[index],)) for index, picture in enumerate(content.pictures)]
    counts = {name: dict.fromkeys(parts, 0) for name in classes}
    for index, part in part_of.items():
        for label in labels[index]:
            counts[classes[label]][part] += 1
    warnings = (*_large(made, shares, len(items)), *_warnings(counts, shares))
    for text in warnings:
        warn(text)
    if not DataRef.parse(target).scheme:
        if opened.scheme not in (writers := task.data.writers or ()):
            known = f"specify the output format as scheme:FOLDER with one of: {', '.join(writers)}"
            raise InputError(f"the format {opened.scheme or 'of this dataset'} can't be written; {known}")
        target = f"{opened.scheme}:{target}"
    ready = replace(content, splits=tuple(parts), pictures=tuple(divided))
    data, _, _ = write_content(ready, target, task, source=ref.text, pictures=pictures, lossy=lossy, progress=progress)
    opens, sizes = dict(zip(parts, data, strict=True)), Counter(picture.splits[0] for picture in divided)
    per_class = {"people": Counter(chosen)} if task.data.open_set else counts
    return Divided(opens, shares, sizes, per_class, len(made), tuple(opened.faults), warnings)


def _groups(names: Sequence[str], labels: Sequence[Sequence[int]], classes: int) -> list[Group]:
    """Return the groups, given the name of the group and the labels of each sample."""
    members: dict[str, list[int]] = defaultdict(list)
    for index, name in enumerate(names):
        members[name].append(index)
    made = []
    for name, positions in members.items():
        counted = np.array([label for index in positions for label in labels[index]], np.int64)
        made.append(Group(name, tuple(positions), np.bincount(counted, minlength=classes)))
    return made


def _large(groups: Sequence[Group], shares: Mapping[str, float], total: int) -> list[str]:
    """Return a warning if the largest group exceeds the largest requested split, so that the request can't be met."""
    largest = max(groups, key=lambda group: (len(group.members), group.name))
    share = len(largest.members) / total
    if share <= max(shares.values()):
        return []
    return [f"the group {largest.name!r} has {len(largest.members)} of {total} images ({share:.0%}), which is too large"]


def _warnings(counts: Mapping[str, Mapping[str, int]], parts: Mapping[str, float]) -> list[str]:
    warnings = []
    for name, found in counts.items():
        total = sum(found.values())
        without = [part for part in parts if not found[part]]
        if total and without:
            warnings.append(f"class {name!r}: none of its {total} instances are in {', '.join(without)}")
        off = {part: found[part] / total - share for part, share in parts.items()} if total >= 20 else {}
        worst = max(off, key=lambda part: abs(off[part]), default=None)
        if worst is not None and abs(off[worst]) > 0.1 and not without:
            warnings.append(
                f"class {name!r}: {worst} has {found[worst] / total:.0%} of its instances, not {parts[worst]:.0%}; groups are too large"
            )
    return warnings
