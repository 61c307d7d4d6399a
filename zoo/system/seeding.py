"""Random seeds that depend only on the position in a run, not on earlier draws.

A resumed run therefore needs no stored generator state.
"""

from __future__ import annotations

import torch


def derived_seed(*parts: int) -> int:
    """Return the seed for a position in a run, such as (seed, epoch, draw). Different positions have different seeds."""
    return hash(parts) & 0x7FFF_FFFF_FFFF_FFFF


def seed_torch(seed: int, device: torch.device) -> None:
    """Seed torch's global generators for the CPU and for one device.

    `torch.manual_seed` seeds every kind of device that torch was built for. If such a device isn't present, torch queues the call together
    with a stack trace and never removes it. Queueing a call takes a millisecond, which is too slow for every step, and millions of queued
    calls use too much memory.
    """
    torch.default_generator.manual_seed(seed)
    if device.type != "cpu":
        torch.get_device_module(device).manual_seed(seed)
