"""Write the `folder:` format: one folder of images per class, inside one folder per split."""

from __future__ import annotations

from pathlib import Path

from zoo.data.classes import write_order
from zoo.data.writers import Content, Writer, folder_losses, place_in_folders
from zoo.tasks.classification.writers import WRITERS


def write_folder(content: Content, out: Path) -> None:
    """Write every image into the folder of its class.

    The order of the classes is written as well, unless it equals the sorted folder names of every split.
    """
    place_in_folders(content, out)
    for split in content.splits or ("",):
        used = {content.classes[picture.record.target] for picture in content.of_split(split)}
        if sorted(used) != list(content.classes):
            write_order(content.classes, (), out)


WRITERS.add("folder", Writer(write_folder, folder_losses))
