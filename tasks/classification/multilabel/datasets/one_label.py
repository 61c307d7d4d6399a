"""The formats with one class per image (`folder:`, `demo:`): this class occurs in the image, and all others don't."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from zoo.data.dataset import Dataset, OnError
from zoo.data.formats import DataRef
from zoo.tasks.classification.datasets import SCHEMES as ONE_LABEL
from zoo.tasks.classification.multilabel.datasets import SCHEMES
from zoo.tasks.classification.multilabel.targets import converted


def open_one_label(name: str, ref: DataRef, on_error: OnError) -> Dataset:
    """Open data in the format `name` of classification, with a target of 1 for the class of each image and 0 for all others."""
    return converted(ONE_LABEL[name].open(ref, on_error))


for _name in ("folder", "demo"):
    SCHEMES.add(_name, replace(ONE_LABEL[_name], open=partial(open_one_label, _name)))
