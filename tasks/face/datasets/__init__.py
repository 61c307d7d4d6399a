"""The data formats of faces: one module each."""

from zoo.registry import Registry
from zoo.schemes import Scheme

SCHEMES: Registry[Scheme] = Registry("data format of face", package="zoo.tasks.face.datasets")
