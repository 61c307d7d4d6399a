"""How a command reads images and computes on them: one value that is passed through instead of a dozen parameters."""

from __future__ import annotations

from dataclasses import dataclass, field

from zoo.data.dataset import OnError
from zoo.images.decoding import Decoding
from zoo.images.headers import MAX_PIXELS
from zoo.system.precision import Precision
from zoo.system.progress import Progress


@dataclass(frozen=True)
class Reading:
    """Settings of reading and computing, the same for every model and dataset of a command.

    Attributes:
        batch_size: images per batch; None for a size that suits the model's input.
        workers: number of loader processes; None for a number that suits the machine, 0 for a thread.
        device: "auto" or a torch device.
        on_error: "raise", or "skip" to leave out images that can't be read.
        exact: decode every image at full size; otherwise large JPEGs may be decoded at a reduced scale.
        max_pixels: limit on width × height; larger images are refused before they are decoded.
    """

    batch_size: int | None = None
    workers: int | None = None
    precision: Precision = "auto"
    device: str = "auto"
    on_error: OnError = "raise"
    exact: bool = False
    max_pixels: int = MAX_PIXELS
    progress: Progress = field(default_factory=lambda: Progress(enabled=False))
    rank: int = 0
    processes: int = 1

    def decoding(self, min_size_hw: tuple[int, int] | None = None) -> Decoding:
        """Return how image files are decoded where at least `min_size_hw` pixels are needed; None for full size."""
        return Decoding(None if self.exact else min_size_hw, self.max_pixels)
