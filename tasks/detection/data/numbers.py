"""Datasets whose images and classes have ids that results files refer to, such as COCO's."""

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
        pictures: image keys by image id. All images in the annotation file are included, even if `limit=` or an annotation error excludes
            them from the dataset.
        categories: class names by category id, for all categories in the annotation file.
        annotations: annotation file, from which outlines are read when needed; None if the format has no outlines.
    """

    pictures: Mapping[Any, str] = field(default_factory=dict)
    categories: Mapping[Any, str] = field(default_factory=dict)
    annotations: Path | None = None

    @classmethod
    def of(
        cls, dataset: Dataset, pictures: Mapping[Any, str], categories: Mapping[Any, str], annotations: Path | None = None
    ) -> NumberedDataset:
        """Create a numbered dataset from a dataset, its ids and its annotation file."""
        values: dict[str, Any] = {field.name: getattr(dataset, field.name) for field in fields(Dataset)}
        return cls(**values, pictures=pictures, categories=categories, annotations=annotations)

    @property
    def order(self) -> dict[str, int]:
        """Position of each image by key. Images are in the order of their ids, in which COCO's evaluation processes them."""
        ids = sorted(self.pictures, key=lambda identity: (isinstance(identity, str), identity))
        return {self.pictures[identity]: place for place, identity in enumerate(ids)}
