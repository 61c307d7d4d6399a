"""Format in which multi-label datasets can be written: a table with one column per class."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from zoo.data.tables import as_csv
from zoo.data.writers import Content, Writer, table_losses
from zoo.registry import Registry
from zoo.system.files import write_text
from zoo.tasks.classification.multilabel.datasets.csv import class_columns

WRITERS: Registry[Writer] = Registry("multi-label classification format")
_TABLE = "labels.csv"
_CELLS = {0.0: "0", 1.0: "1"}


def write_csv(content: Content, out: Path) -> None:
    """Write the images, and a table with a row per image and a column per class: 1, 0, or empty if the label is unknown."""
    for picture in content.pictures:
        content.put(picture, out / picture.name)
    rows = (
        [picture.name, *(_CELLS.get(float(value), "") for value in np.asarray(picture.record.target)), *picture.splits]
        for picture in content.pictures
    )
    write_text(out / _TABLE, as_csv(["path", *content.classes, *(["split"] if content.splits else [])], rows))


def _losses(content: Content) -> list[str]:
    """Return descriptions of what a table with these columns can't represent."""
    header = ["path", *content.classes, *(["split"] if content.splits else [])]
    lost = (
        []
        if class_columns(header) == list(content.classes)
        else ["the names of classes: some are those of other columns of a table, such as path, split or label; rename them"]
    )
    return [*table_losses(content), *lost]


WRITERS.add("csv", Writer(write_csv, _losses, path=_TABLE))
