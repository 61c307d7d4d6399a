"""Formats in which detection datasets can be written."""

from zoo.data.writers import Writer
from zoo.registry import Registry

WRITERS: Registry[Writer] = Registry("detection format", package="zoo.tasks.detection.writers")
