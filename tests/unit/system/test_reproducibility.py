"""Seeds that are derived from positions in a run."""

from __future__ import annotations

import torch

from zoo.system.reproducibility import derived_seed, seed_torch


def test_the_numbers_are_those_of_torch() -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    seed_torch(7, torch.device("cpu"))
    assert torch.equal(torch.rand(3), expected)


def test_nothing_is_remembered_for_devices_that_are_not_there() -> None:
    """`torch.manual_seed` queues a call with its stack trace for each of them, every time."""
    before = len(torch.cuda._queued_calls)
    for _ in range(3):
        seed_torch(1, torch.device("cpu"))
    assert len(torch.cuda._queued_calls) == before


def test_places_have_seeds_of_their_own() -> None:
    assert len({derived_seed(*place) for place in [(0, 1, 2), (0, 2, 1), (1, 0, 2), (0, 1)]}) == 4
    assert 0 <= derived_seed(-5, 3) < 2**63
