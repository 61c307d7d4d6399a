"""The data formats of classification: one module each."""

from zoo.data import Scheme
from zoo.registry import Registry

SCHEMES: Registry[Scheme] = Registry("data format of classification", package="zoo.tasks.classification.datasets")
