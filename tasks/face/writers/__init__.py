"""The formats that face data can be written in."""

from zoo.data.writers import Writer
from zoo.registry import Registry

WRITERS: Registry[Writer] = Registry("face format", package="zoo.tasks.face.writers")
