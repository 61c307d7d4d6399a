"""Random numbers that depend on what they are for alone, not on what was drawn before: a resumed run needs no memory of them."""

from __future__ import annotations


def derived_seed(*parts: int) -> int:
    """Return the seed of a place in a run, such as (seed, epoch, draw): other places have other seeds."""
    return hash(parts) & 0x7FFF_FFFF_FFFF_FFFF
