"""Datasets with the ids of COCO's annotation files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo.data.dataset import Dataset


@dataclass(frozen=True, kw_only=True)
class NumberedDataset(Dataset):
    """Dataset with the image and category ids of its annotation file, to which results files refer.

    Attributes:
        pictures: image keys by image id. All images in the annotation file are included, even if `limit=` or an annotation error excludes
            them from the dataset.
        categories: class names by category id, for all categories in the annotation file.
        annotations: annotation file, from which outlines are read when needed.
        turned: EXIF orientation by key of the images whose annotations were converted from the stored to the upright frame.
    """

    pictures: Mapping[Any, str]
    categories: Mapping[Any, str]
    annotations: Path
    turned: Mapping[str, int]

    @property
    def order(self) -> dict[str, int]:
        """Position of each image by key. Images are in the order of their ids, in which COCO's evaluation processes them."""
        ids = sorted(self.pictures, key=lambda identity: (isinstance(identity, str), identity))
        return {self.pictures[identity]: place for place, identity in enumerate(ids)}
