"""Write the `csv:` format: labels.csv with path, label and split, next to the images."""

from __future__ import annotations

from pathlib import Path

from zoo.data.classes import write_order
from zoo.data.tables import as_csv
from zoo.data.writers import Content, Writer, table_losses
from zoo.system.files import write_text
from zoo.tasks.classification.datasets.csv import sorted_labels
from zoo.tasks.classification.writers import WRITERS

FILE = "labels.csv"


def write_csv(content: Content, out: Path) -> None:
    """Write the images, and a table with one row per image. It has a column split only if the dataset has splits."""
    for picture in content.pictures:
        content.put(picture, out / picture.name)
    rows = ([picture.name, content.classes[picture.record.target], *picture.splits] for picture in content.pictures)
    write_text(out / FILE, as_csv(["path", "label", *(["split"] if content.splits else [])], rows))
    write_order(content.classes, sorted_labels({content.classes[picture.record.target] for picture in content.pictures}), out)


WRITERS.add("csv", Writer(write_csv, table_losses, path=FILE))
