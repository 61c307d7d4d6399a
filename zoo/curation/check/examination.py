"""Complete dataset check: opens a dataset, inspects and compares its images, and collects the findings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from zoo.curation.check import attributes, boxes, duplicates, labels, pictures
from zoo.curation.check.findings import NEAR, Finding, Findings, in_order, of_faults
from zoo.curation.check.items import Opened, open_all
from zoo.errors import InputError
from zoo.system.progress import Progress
from zoo.task.contract import get_task


@dataclass(frozen=True)
class Examination:
    """Findings of a dataset check, the opened dataset, and the properties of each sample's image."""

    findings: Findings
    opened: Opened
    facts: tuple[pictures.Facts, ...]


def examine(
    data: object,
    task: str,
    *,
    options: Mapping[str, Any] | None = None,
    near: int = NEAR,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Examination:
    """Read a whole dataset (string, path or sequence of samples) and report its problems.

    Without `split=`, all splits are checked together, because images that appear in two splits are often overlooked. `options` are
    those of the models that the data is for, if they matter for the data, as `multi_label` and `attributes` do. `near` is the maximum
    Hamming distance between the 64-bit perceptual hashes of near-duplicate images. For `workers`, see `look_at_all`.
    """
    if not 0 <= near <= 32:
        raise InputError(f"near is {near}; expected a Hamming distance of 0 to 32 (the average for unrelated images is 32 of 64 bits)")
    progress = progress or Progress(enabled=False)
    kind = get_task(task, options)
    opened = open_all(data, kind, progress.say)
    records = [item.record for item in opened.items]
    facts = tuple(progress.track(pictures.look_at_all(records, workers), "reading", len(records)))
    items, people, counts = opened.items, kind.data.open_set, labels.class_counts(opened)
    read = list(of_faults(opened.faults, opened.root))
    found = [*opened.findings, *read, *(Finding("assumed", str(opened.root or opened.name), note) for note in opened.notes)]
    found += pictures.findings(
        [item.key for item in items], ["" if item.record.path is None else item.record.path.name for item in items], facts
    )
    found += duplicates.findings(items, facts, near, people=people, own_copies=bool(opened.pairs) and not opened.filed)
    found += labels.pairs(opened, facts)
    found += labels.people(opened, counts) if people else labels.classes(opened, counts)
    found += labels.strays(opened)
    found += attributes.findings(items, getattr(kind.parse_options(options or {}), "attributes", None) or ())
    found += boxes.findings(items, facts)
    found += boxes.misread(read, items, facts, str(opened.root))
    splits = Counter(split for item in items for split in item.splits or ("",))
    values = attributes.value_counts(items)
    answer = Findings(opened.name, opened.scheme, kind.name, len(records), dict(splits), dict(counts), in_order(found), values)
    return Examination(answer, opened, facts)
