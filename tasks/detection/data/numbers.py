"""Data whose pictures and classes have numbers of their own, as COCO's have: files of results name these."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from zoo.data.dataset import Dataset


@dataclass(frozen=True)
class NumberedDataset(Dataset):
    """Pictures and classes with the ids of their annotation file.

    Attributes:
        pictures: image id to key, of all pictures that the file lists: those that `limit=` or a fault left out are known, too.
        categories: category id to the class's name, of all of them likewise.
        annotations: the annotation file, for the outlines that aren't kept; None where the format has none.
    """

    pictures: Mapping[Any, str] = field(default_factory=dict)
    categories: Mapping[Any, str] = field(default_factory=dict)
    annotations: Path | None = None

    @classmethod
    def of(
        cls, dataset: Dataset, pictures: Mapping[Any, str], categories: Mapping[Any, str], annotations: Path | None = None
    ) -> NumberedDataset:
        """Attach the ids and their file to open data."""
        values: dict[str, Any] = {field.name: getattr(dataset, field.name) for field in fields(Dataset)}
        return cls(**values, pictures=pictures, categories=categories, annotations=annotations)

    @property
    def order(self) -> dict[str, int]:
        """Key to its place in the order of the ids, in which COCO's evaluation takes pictures."""
        ids = sorted(self.pictures, key=lambda identity: (isinstance(identity, str), identity))
        return {self.pictures[identity]: place for place, identity in enumerate(ids)}
