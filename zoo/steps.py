"""Batches and optimiser steps: several batches make one step where gradients are accumulated, and an epoch ends with a step."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Steps:
    """The steps of a run, counted in batches of one process.

    Attributes:
        batches_per_epoch: the last step of an epoch may have fewer batches than the others.
        accumulation: batches per step.
    """

    batches_per_epoch: int
    accumulation: int

    @property
    def per_epoch(self) -> int:
        """Steps of an epoch."""
        return math.ceil(self.batches_per_epoch / self.accumulation)

    def done(self, batches: int) -> int:
        """Return the steps that so many batches of a run make, one that has begun included."""
        epochs, rest = divmod(batches, self.batches_per_epoch)
        return epochs * self.per_epoch + math.ceil(rest / self.accumulation)

    def complete(self, batches: int) -> bool:
        """Tell whether the last of so many batches completes a step."""
        return batches % self.batches_per_epoch % self.accumulation == 0
