"""Writer of the `folder:` format: one folder of images per class, inside one folder per split."""

from __future__ import annotations

from pathlib import Path

from zoo.data.classes import write_order
from zoo.data.writers import Content, Writer, folder_losses, place_in_folders
from zoo.tasks.classification.writers import WRITERS


def write_folder(content: Content, out: Path) -> None:
    """Place every image in the folder of its class, and write the order of the classes if it can't be inferred from every split."""
    place_in_folders(content, out)
    for split in content.splits or ("",):
        used = {content.classes[picture.record.target] for picture in content.of_split(split)}
        if sorted(used) != list(content.classes):
            write_order(content.classes, (), out)


WRITERS.add("folder", Writer(write_folder, folder_losses))
