"""Batches of P identities × K pictures."""

from __future__ import annotations

import logging
from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from zoo.data.sampling import TrainingPlan
from zoo.errors import InputError
from zoo.tasks.face.training.sampling import IdentityBatches, identity_batches

SIZES = st.lists(st.integers(1, 9), min_size=2, max_size=12)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def people_of(sizes: list[int]) -> list[int]:
    """Return shuffled identities of these numbers of images, with gaps between the identity numbers."""
    listed = [3 * identity for identity, size in enumerate(sizes) for _ in range(size)]
    return [listed[place] for place in torch.randperm(len(listed), generator=generator(9)).tolist()]


@given(sizes=SIZES, people=st.integers(2, 6), pictures=st.integers(2, 5), seed=st.integers(0, 99))
def test_every_batch_has_so_many_identities_and_pictures_of_each(sizes: list[int], people: int, pictures: int, seed: int) -> None:
    identities, people = people_of(sizes), min(people, len(sizes))
    counts = Counter(identities)
    sampling = IdentityBatches(identities, people, pictures)
    batches = sampling.batches(generator(seed))
    assert len(batches) == len(sampling)
    assert sum(map(len, batches)) >= len(identities)
    for batch in batches:
        groups = [batch[start : start + pictures] for start in range(0, len(batch), pictures)]
        shown = [{identities[position] for position in group} for group in groups]
        assert all(len(identity) == 1 for identity in shown), "one identity after the other"
        assert len(set.union(*shown)) == len(groups) == people
        for group in groups:  # no image twice, unless there are too few
            assert len(set(group)) == min(pictures, counts[identities[group[0]]])


@given(sizes=SIZES, seed=st.integers(0, 99))
def test_identities_and_their_pictures_take_turns(sizes: list[int], seed: int) -> None:
    identities = people_of(sizes)
    drawn = [position for batch in IdentityBatches(identities, 2, 2).batches(generator(seed)) for position in batch]
    turns = Counter(identities[position] for position in drawn)
    assert (
        max(turns.values()) - min(turns.get(identity, 0) for identity in set(identities)) <= 2 * 2
    )  # at most twice in a row, where the queue is refilled
    seen = Counter(drawn)
    for identity in set(identities):
        times = [seen[position] for position, other in enumerate(identities) if other == identity]
        assert max(times) - min(times) <= 1 + (len(times) < 2)


def test_every_picture_is_seen_in_the_long_run() -> None:
    identities = people_of([40, 2, 2, 1])
    sampling = IdentityBatches(identities, 2, 2)
    drawn = Counter(position for epoch in range(30) for batch in sampling.batches(generator(epoch)) for position in batch)
    assert set(drawn) == set(range(len(identities)))
    by_person = Counter(identities[position] for position in drawn.elements())
    assert max(by_person.values()) < 1.05 * min(by_person.values())


def test_a_generator_decides_everything() -> None:
    identities = people_of([5] * 6)
    sampling = IdentityBatches(identities, 3, 2)
    torch.manual_seed(1)
    first = sampling.batches(generator(4))
    torch.manual_seed(2)
    assert sampling.batches(generator(4)) == first
    assert sampling.batches(generator(5)) != first


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_each_process_has_whole_identities(processes: int) -> None:
    identities = people_of([6] * 14)
    sampling = identity_batches(identities, pictures=3, batch_size=14, processes=processes)
    shares = [TrainingPlan(sampling, 1, 0, rank, processes).epoch(0) for rank in range(processes)]
    for together in zip(*shares, strict=True):
        counted = [Counter(identities[position] for _, _, position in share) for share in together]
        assert all(list(count.values()) == [3] * 4 for count in counted)
        assert len(set().union(*counted)) == 4 * processes, "no identity is in two shares"


def test_a_picture_drawn_twice_is_augmented_in_two_ways() -> None:
    """The loader seeds a sample's augmentation with the number of its draw."""
    plan = TrainingPlan(IdentityBatches([0, 1], 2, 3), 1, 0)
    (batch,) = plan.epoch(0)
    assert Counter(position for _, _, position in batch) == {0: 3, 1: 3}
    assert len({draw for _, draw, _ in batch}) == 6


def test_fewer_identities_than_there_is_room_for(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "zoo"):
        sampling = identity_batches(people_of([4] * 5), pictures=4, batch_size=32, processes=2)
    assert (sampling.people, sampling.pictures) == (4, 4)
    assert caplog.messages == ["batches hold 16 images (4 identities × 4): there are only 5 identities"]


def test_a_full_batch_needs_no_words(caplog: pytest.LogCaptureFixture) -> None:
    assert identity_batches(people_of([4] * 8), pictures=3, batch_size=26, processes=1).people == 8
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("sizes", "batch_size", "processes", "message"),
    [
        ([4, 4, 4], 7, 1, "batch_size is 7, which is too small for 2 identities × 4 images; use 8 or more"),
        ([4, 4, 4], 8, 2, "the dataset has 3 identities; 2 processes need at least 4, two each"),
        ([1] * 9, 8, 1, "no identity in the dataset has two images"),
    ],
)
def test_data_that_can_not_fill_batches(sizes: list[int], batch_size: int, processes: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        identity_batches(people_of(sizes), 4, batch_size, processes)
