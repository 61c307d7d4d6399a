"""Random seeds that depend only on the position in a run, not on earlier draws: a resumed run needs no stored generator state."""

from __future__ import annotations

import torch


def derived_seed(*parts: int) -> int:
    """Return the seed of a position in a run, such as (seed, epoch, draw); different positions have different seeds."""
    return hash(parts) & 0x7FFF_FFFF_FFFF_FFFF


def seed_torch(seed: int, device: torch.device) -> None:
    """Seed torch's global generators of the CPU and of one device.

    `torch.manual_seed` seeds all kinds of devices that torch was built for. For a device that isn't present it queues the call with a stack
    trace, permanently. This takes a millisecond, which is too long for every step, and too much memory after millions of steps.
    """
    torch.default_generator.manual_seed(seed)
    if device.type != "cpu":
        torch.get_device_module(device).manual_seed(seed)
