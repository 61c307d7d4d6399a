"""Settings for reading images and running models, combined in one object instead of a dozen parameters."""

from __future__ import annotations

from dataclasses import dataclass, field

from zoo.data.dataset import OnError
from zoo.images.decoding import Decoding
from zoo.images.headers import MAX_PIXELS
from zoo.system.precision import Precision
from zoo.system.progress import Progress


@dataclass(frozen=True)
class Reading:
    """Settings for reading images and running models, which apply to every model and dataset of a command.

    Attributes:
        batch_size: number of images per batch; None to choose it by the model's input size.
        workers: number of loader processes. 0 uses threads instead. None chooses the number by the machine and the dataset.
        precision: numeric precision of the model.
        device: "auto" or a torch device.
        on_error: "raise", or "skip" to skip images that can't be read.
        exact: whether to decode every image at full size; otherwise large JPEGs may be decoded at a reduced scale.
        max_pixels: limit on width × height; larger images are refused before they are decoded.
        progress: progress display.
        rank: index of this process.
        processes: number of processes.
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
        """Return the decoding settings for images that need at least `min_size_hw` pixels (height, width); None means full size."""
        return Decoding(None if self.exact else min_size_hw, self.max_pixels)
