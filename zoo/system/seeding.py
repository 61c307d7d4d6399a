"""Random numbers that depend on what they are for alone, not on what was drawn before: a resumed run needs no memory of them."""

from __future__ import annotations

import torch


def derived_seed(*parts: int) -> int:
    """Return the seed of a place in a run, such as (seed, epoch, draw): other places have other seeds."""
    return hash(parts) & 0x7FFF_FFFF_FFFF_FFFF


def seed_torch(seed: int, device: torch.device) -> None:
    """Seed torch's global generators of the processor and of one device.

    `torch.manual_seed` seeds those of every kind of device that torch was built for. Where one isn't there, it takes a millisecond to
    remember that with a stack trace, for ever: too long for every step, and too much for millions of them.
    """
    torch.default_generator.manual_seed(seed)
    if device.type != "cpu":
        torch.get_device_module(device).manual_seed(seed)
