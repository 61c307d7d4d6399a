"""Write the `identities:` format: one folder per split, with one folder of images per person in it."""

from __future__ import annotations

from pathlib import Path

from zoo.data.writers import Content, Writer, folder_losses, place_in_folders
from zoo.tasks.face.writers import WRITERS


def write_identities(content: Content, out: Path) -> None:
    """Write each image to the folder of its split and person."""
    place_in_folders(content, out)


WRITERS.add("identities", Writer(write_identities, folder_losses))
