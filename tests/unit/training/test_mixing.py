"""Mixture of several training datasets: how often each is drawn, and in which order."""

from __future__ import annotations

import math
from collections import Counter
from itertools import islice
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.pictures import picture
from zoo.data.dataset import Dataset, Record
from zoo.data.sampling import Shuffled, TrainingPlan
from zoo.errors import ImageError
from zoo.images.decoding import Decoding
from zoo.images.preprocess import Preprocess
from zoo.task.data import unchanged
from zoo.training.mixing import MixedPlan, TrainingSource, batch_counts, mixed_loader

pytestmark = pytest.mark.usefixtures("one_thread")


def plan(sizes: tuple[int, ...], temperature: float = 1.0, epochs: int = 4, rank: int = 0, processes: int = 1) -> MixedPlan:
    samplings = [Shuffled(size, 4 * processes, 2 * processes) for size in sizes]
    counts = batch_counts([len(sampling) for sampling in samplings], temperature)
    return MixedPlan.of(samplings, counts, epochs, 3, rank, processes)


def made(name: str, size: int) -> Dataset:
    return Dataset(name, tuple(Record(f"{name}{n}", picture((n, 0, 0), n, (8, 8)), n) for n in range(size)))


def test_shares_by_temperature() -> None:
    assert batch_counts([90, 10], 1) == (90, 10)
    assert batch_counts([90, 10], 2) == (75, 25)  # √90 : √10 = 3 : 1
    assert batch_counts([90, 10], math.inf) == (50, 50)
    assert batch_counts([90, 11], math.inf) == (51, 51)
    assert batch_counts([1000, 1], 1.5) == (991, 10)  # 1000^(2/3) = 100, of 101 parts
    assert batch_counts([1000, 1], 0.1) == (1001, 1), "each dataset is drawn"
    assert batch_counts([7], 5) == (7,)


@given(batches=st.lists(st.integers(1, 500), min_size=1, max_size=5), hundredths=st.integers(1, 10**8))
def test_an_epoch_keeps_its_length(batches: list[int], hundredths: int) -> None:
    counts = batch_counts(batches, hundredths / 100)
    assert min(counts) >= 1
    assert sum(batches) <= sum(counts) < sum(batches) + len(batches)
    assert all(counts[one] >= counts[two] - 1 for one, n in enumerate(batches) for two, m in enumerate(batches) if n >= m)


def test_one_data_set_is_drawn_as_without_a_mixture() -> None:
    single = TrainingPlan(Shuffled(21, 4, 2), 4, 3)
    assert [share.indices() for share in plan((21,)).shares_from(0)] == [share.indices() for share in single.shares_from(0)]


def test_every_sample_once_per_epoch_in_an_order_of_its_own() -> None:
    mixed = plan((21, 9))
    orders = [mixed.order(epoch) for epoch in range(4)]
    assert all(sorted(order) == [0] * 5 + [1] * 2 for order in orders)
    assert len({tuple(order) for order in orders}) > 1
    shares = mixed.shares_from(0)
    for order in orders:
        batches = list(islice(shares, mixed.batches_per_epoch))
        assert [share.source for share in batches] == order
        drawn = Counter((share.source, position) for share in batches for position in share.positions)
        assert drawn == Counter([(0, place) for place in range(21)] + [(1, place) for place in range(9)])


@pytest.mark.parametrize("temperature", [1.0, 3.0, math.inf])
def test_a_plan_continues_anywhere(temperature: float) -> None:
    mixed = plan((21, 9, 14), temperature)
    whole = list(mixed.shares_from(0))
    assert len(whole) == 4 * mixed.batches_per_epoch
    for start in range(len(whole)):
        assert list(mixed.shares_from(start)) == whole[start:]


def test_a_data_set_goes_on_where_it_stopped() -> None:
    """With equal shares, the small set is repeated, and the large one takes several epochs; both draw their samples equally often."""
    drawn = Counter((share.source, position) for share in plan((24, 8), math.inf, epochs=5).shares_from(0) for position in share.positions)
    assert {drawn[1, place] for place in range(8)} == {10}  # 20 batches of 4 = 10 rounds over 8 samples
    assert {drawn[0, place] for place in range(24)} <= {3, 4}  # 20 batches of 4 = 3⅓ rounds over 24


def test_processes_share_every_batch() -> None:
    parts = [list(plan((21, 9), rank=rank, processes=2).shares_from(0)) for rank in range(2)]
    assert [share.source for share in parts[0]] == [share.source for share in parts[1]]
    for one, two in zip(*parts, strict=True):
        assert not {*one.positions} & {*two.positions}
        assert len(one.positions) >= 2
        assert abs(len(one.positions) - len(two.positions)) <= 1


@pytest.mark.parametrize("workers", [0, 1])
def test_batches_come_from_one_data_set_each(workers: int) -> None:
    mixed = plan((12, 8), epochs=1)
    sets = [made("a", 12), made("b", 8)]
    sides = {0: 8, 1: 16}
    sources = [TrainingSource(data, Preprocess("squash", (sides[n],) * 2), unchanged, Decoding()) for n, data in enumerate(sets)]
    for batch, share in zip(mixed_loader(sources, mixed, workers, "raise", 1), list(mixed.shares_from(1)), strict=True):
        assert batch.source == share.source
        assert batch.keys == tuple(sets[share.source].records[position].key for position in share.positions)
        assert batch.images is not None
        assert batch.images.pixels.shape[-1] == sides[share.source]
        assert torch.tensor(batch.targets).tolist() == share.positions


def test_an_unreadable_image_is_named() -> None:
    good = made("a", 4)
    bad = Dataset("b", tuple(Record(f"b{n}", broken, n) for n in range(4)))
    sources = [TrainingSource(data, Preprocess("squash", (8, 8)), unchanged, Decoding()) for data in (good, bad)]
    with pytest.raises(ImageError, match=r"b0: no picture"):
        list(mixed_loader(sources, plan((4, 4), epochs=1), 0, "raise"))


def broken() -> Any:
    raise ImageError("b0", "no picture")
