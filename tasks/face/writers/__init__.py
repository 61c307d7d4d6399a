"""Output formats of face datasets."""

from zoo.data.writers import Writer
from zoo.registry import Registry

WRITERS: Registry[Writer] = Registry("face format", package="zoo.tasks.face.writers")
