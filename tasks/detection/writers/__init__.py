"""The formats that detection data can be written in."""

from zoo.data.writers import Writer
from zoo.registry import Registry

WRITERS: Registry[Writer] = Registry("detection format", package="zoo.tasks.detection.writers")
