"""Dataset formats for detection, one module per format."""

from zoo.data.formats import Scheme
from zoo.registry import Registry

SCHEMES: Registry[Scheme] = Registry(
    "data format of detection", package="zoo.tasks.detection.datasets", entry_points="zoo.formats.detection"
)
