"""Formats in which face datasets can be written."""

from __future__ import annotations

from zoo.data.writers import Writer, folder_losses, place_in_folders
from zoo.registry import Registry

WRITERS: Registry[Writer] = Registry("face format")
WRITERS.add("identities", Writer(place_in_folders, folder_losses))  # one folder per split, with one folder of images per person in it
