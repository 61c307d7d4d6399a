"""Batches of an epoch: each sample once, or all classes equally often."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from zoo.data.sampling import Balanced, Shuffled, cut
from zoo.errors import InputError


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(samples=st.integers(2, 200), batch_size=st.integers(4, 40), smallest=st.integers(1, 4))
def test_cutting_leaves_nothing_out(samples: int, batch_size: int, smallest: int) -> None:
    order = list(range(samples))
    batches = cut(order, batch_size, smallest)
    assert [position for batch in batches for position in batch] == order
    assert all(len(batch) == batch_size for batch in batches[:-1])
    assert len(batches[-1]) >= min(smallest, samples)
    assert len(batches[-1]) < batch_size + max(smallest, 1)


@given(samples=st.integers(2, 100), batch_size=st.integers(2, 30))
def test_shuffled_takes_each_sample_once(samples: int, batch_size: int) -> None:
    sampling = Shuffled(samples, batch_size, 2)
    batches = sampling.batches(generator())
    assert len(batches) == len(sampling)
    assert Counter(position for batch in batches for position in batch) == Counter(range(samples))


def test_balanced_draws_every_class_as_often() -> None:
    labels = [(0,)] * 900 + [(1,)] * 90 + [(2,)] * 10
    sampling = Balanced(labels, 50, 2)
    drawn = Counter(labels[position][0] for seed in range(20) for batch in sampling.batches(generator(seed)) for position in batch)
    assert sum(drawn.values()) == 20_000
    assert all(abs(count / 20_000 - 1 / 3) < 0.015 for count in drawn.values())  # 4.5 standard deviations
    assert len(sampling) == len(sampling.batches(generator())) == 20


def test_a_sample_of_several_classes_counts_as_its_rarest_and_one_without_as_an_average_one() -> None:
    weights = Balanced([(0, 1, 1), (0,), (0,), ()], 2, 2).weights()
    # the first sample counts as class 1, the next two as class 0; the last has the average weight of four samples in two classes
    expected = torch.tensor([1, 1 / 2, 1 / 2, 1 / 2], dtype=torch.float64)
    torch.testing.assert_close(weights, expected / expected.sum())


def test_one_class_can_not_be_balanced() -> None:
    with pytest.raises(InputError, match="the data has samples of 1 class; set balance to 'none'"):
        Balanced([(0,), (0,)], 2, 2)
