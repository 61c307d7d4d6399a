"""Dataset formats for multi-label classification, one module per format."""

from zoo.data.formats import Scheme
from zoo.registry import Registry

SCHEMES: Registry[Scheme] = Registry(
    "data format of multi-label classification",
    package="zoo.tasks.classification.multilabel.datasets",
    entry_points="zoo.formats.multi_label_classification",
)
