"""Progress display of training: loss, last validation score, images per second, and remaining time of the epoch and the run."""

from __future__ import annotations

import time

from zoo.system.progress import Progress


class TrainingProgress:
    """Progress bars of the epoch and of the run."""

    def __init__(self, progress: Progress, epochs: int, per_epoch: int, score: str) -> None:
        """Store the display, the number of epochs, the number of batches per epoch, and the name of the validation score."""
        self._progress, self._epochs, self._per_epoch, self._name = progress, epochs, per_epoch, score
        self._score: float | None = None
        self._pictures, self._start = 0, time.monotonic()

    def begin_run(self, done: int) -> None:
        """Start the bar of the run, of which `done` batches are already finished."""
        self._progress.begin_whole("run", self._epochs * self._per_epoch, done)

    def begin_epoch(self, done: int) -> None:
        """Start the bar of the next epoch, if there is one; `done` batches of the run are finished."""
        epoch, in_epoch = divmod(done, self._per_epoch)
        self._pictures, self._start = 0, time.monotonic()
        if epoch < self._epochs:
            self._progress.begin(f"epoch {epoch + 1}/{self._epochs}", self._per_epoch, in_epoch)

    def scored(self, score: float | None) -> None:
        """Show a validation score from now on; None if the data doesn't support it."""
        self._score = score

    def batch(self, loss: float, pictures: int) -> None:
        """Advance both bars by one batch of `pictures` images (over all processes); `loss` is the mean of the epoch so far."""
        self._pictures += pictures
        rate = self._pictures / max(time.monotonic() - self._start, 1e-9)
        score = "" if self._score is None else f"{self._name} {self._score:.4f}, "
        self._progress.advance_whole()
        self._progress.advance(f"loss {loss:.3f}, {score}{rate:.{0 if rate >= 10 else 1}f} images/s")
