"""Dataset formats for classification, one module per format."""

from zoo.data.formats import Scheme
from zoo.registry import Registry

SCHEMES: Registry[Scheme] = Registry(
    "data format of classification", package="zoo.tasks.classification.datasets", entry_points="zoo.formats.classification"
)
