"""The data formats of detection: one module each."""

from zoo.registry import Registry
from zoo.schemes import Scheme

SCHEMES: Registry[Scheme] = Registry("data format of detection", package="zoo.tasks.detection.datasets")
