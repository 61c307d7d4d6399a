"""Writer of the `csv:` format: labels.csv with path, label and split, next to the images."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from zoo.data.classes import write_order
from zoo.data.writers import Content, Writer
from zoo.system.files import write_text
from zoo.tasks.classification.datasets.csv import sorted_labels
from zoo.tasks.classification.writers import WRITERS

FILE = "labels.csv"


def write_csv(content: Content, out: Path) -> None:
    """Write one row per image; the column split is included only if the dataset has splits."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["path", "label", *(["split"] if content.splits else [])])
    for picture in content.pictures:
        content.put(picture, out / picture.name)
        table.writerow([picture.name, content.classes[picture.record.target], *picture.splits])
    write_text(out / FILE, text.getvalue())
    write_order(content.classes, sorted_labels({content.classes[picture.record.target] for picture in content.pictures}), out)


def _losses(content: Content) -> list[str]:
    several = [picture for picture in content.pictures if len(picture.splits) > 1]
    lost = [f"{picture.name} is in several splits: {', '.join(picture.splits)}" for picture in several]
    strange = [name for name in (*content.classes, *(picture.name for picture in content.pictures)) if name != name.strip()]
    return lost + [f"names with leading or trailing spaces: {', '.join(map(repr, strange[:5]))}" for _ in strange[:1]]


WRITERS.add("csv", Writer(write_csv, _losses, path=FILE))
