"""Dataset formats of the face task, with one module per scheme."""

from zoo.data.formats import Scheme
from zoo.registry import Registry

SCHEMES: Registry[Scheme] = Registry("data format of face", package="zoo.tasks.face.datasets", entry_points="zoo.formats.face")
