"""The data formats of classification: one module each."""

from zoo.registry import Registry
from zoo.schemes import Scheme

SCHEMES: Registry[Scheme] = Registry("data format of classification", package="zoo.tasks.classification.datasets")
