"""A verification protocol that the data brings along: which pictures are compared, in which folds."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, fields
from typing import Any

from zoo.data.dataset import Dataset


@dataclass(frozen=True, slots=True)
class Pair:
    """Two pictures to be compared.

    Attributes:
        first: key of one picture.
        second: key of the other.
        same: whether they show one person.
        fold: from 0 up, as the protocol has it.
    """

    first: str
    second: str
    same: bool
    fold: int


@dataclass(frozen=True)
class PairedDataset(Dataset):
    """Pictures with the pairs that are to be scored, and no others.

    Attributes:
        pairs: in the protocol's order; a pair whose picture could not be read stays, and is counted as missing.
    """

    pairs: tuple[Pair, ...] = ()

    @classmethod
    def of(cls, dataset: Dataset, pairs: Iterable[Pair], all_keys: Collection[str]) -> PairedDataset:
        """Attach the pairs.

        Args:
            dataset: the pictures, after `classes=` and `limit=`.
            pairs: the whole protocol.
            all_keys: the pictures there were before; pairs with one that is no longer wanted are left out.
        """
        unwanted = set(all_keys) - set(dataset.keys)
        kept = tuple(pair for pair in pairs if pair.first not in unwanted and pair.second not in unwanted)
        values: dict[str, Any] = {field.name: getattr(dataset, field.name) for field in fields(Dataset)}
        return cls(**values, pairs=kept)
