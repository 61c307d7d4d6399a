"""Datasets whose images and classes have ids, such as COCO's, to which result files refer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from zoo.data.dataset import Dataset


@dataclass(frozen=True)
class NumberedDataset(Dataset):
    """Dataset with the image and category ids of its annotation file.

    Attributes:
        pictures: key of each image by id, for all images in the file, including those excluded by `limit=` or an annotation error.
        categories: name of each class by category id, for all categories in the file.
        annotations: annotation file, from which outlines are read on demand; None if the format has none.
    """

    pictures: Mapping[Any, str] = field(default_factory=dict)
    categories: Mapping[Any, str] = field(default_factory=dict)
    annotations: Path | None = None

    @classmethod
    def of(
        cls, dataset: Dataset, pictures: Mapping[Any, str], categories: Mapping[Any, str], annotations: Path | None = None
    ) -> NumberedDataset:
        """Return an open dataset with the ids and their file attached."""
        values: dict[str, Any] = {field.name: getattr(dataset, field.name) for field in fields(Dataset)}
        return cls(**values, pictures=pictures, categories=categories, annotations=annotations)

    @property
    def order(self) -> dict[str, int]:
        """Position of each key in the order of the ids, in which COCO's evaluation processes images."""
        ids = sorted(self.pictures, key=lambda identity: (isinstance(identity, str), identity))
        return {self.pictures[identity]: place for place, identity in enumerate(ids)}
