"""The formats that face data can be written in."""

from zoo.conversion.content import Writer
from zoo.registry import Registry

WRITERS: Registry[Writer] = Registry("face format", package="zoo.tasks.face.writers")
