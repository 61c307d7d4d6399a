"""The data formats of faces: one module each."""

from zoo.data.formats import Scheme
from zoo.registry import Registry

SCHEMES: Registry[Scheme] = Registry("data format of face", package="zoo.tasks.face.datasets")
