"""Formats in which classification datasets can be written."""

from zoo.data.writers import Writer
from zoo.registry import Registry

WRITERS: Registry[Writer] = Registry("classification format", package="zoo.tasks.classification.writers")
