"""Verification protocol of a dataset: which images are compared, in which folds."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, fields
from typing import Any

from zoo.data.dataset import Dataset


@dataclass(frozen=True, slots=True)
class Pair:
    """Two images to compare.

    Attributes:
        first: key of the first image.
        second: key of the second image.
        same: whether both images show one person.
        fold: index of the pair's fold in the protocol, from 0.
    """

    first: str
    second: str
    same: bool
    fold: int


@dataclass(frozen=True)
class PairedDataset(Dataset):
    """Dataset of images with the pairs to score; no other pairs are scored.

    Attributes:
        pairs: pairs in the order of the protocol; a pair whose image could not be read is kept, and counted as missing.
    """

    pairs: tuple[Pair, ...] = ()

    @classmethod
    def of(cls, dataset: Dataset, pairs: Iterable[Pair], all_keys: Collection[str]) -> PairedDataset:
        """Attach pairs to a dataset.

        Args:
            dataset: the images, after the selection by `classes=` and `limit=`.
            pairs: all pairs of the protocol.
            all_keys: keys of all images before the selection; pairs with an image that was not selected are dropped.
        """
        unwanted = set(all_keys) - set(dataset.keys)
        kept = tuple(pair for pair in pairs if pair.first not in unwanted and pair.second not in unwanted)
        values: dict[str, Any] = {field.name: getattr(dataset, field.name) for field in fields(Dataset)}
        return cls(**values, pairs=kept)
