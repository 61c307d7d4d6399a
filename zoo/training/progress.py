"""Progress display of training: loss, last validation score, images per second, and remaining time."""

from __future__ import annotations

import time

from zoo.system.progress import Progress


class TrainingProgress:
    """Progress bars of the current epoch and of the whole run."""

    def __init__(self, progress: Progress, epochs: int, per_epoch: int, score: str) -> None:
        """Create the progress display.

        Args:
            progress: display of the progress bars.
            epochs: number of epochs.
            per_epoch: number of batches per epoch.
            score: name of the validation score.
        """
        self._progress, self._epochs, self._per_epoch, self._name = progress, epochs, per_epoch, score
        self._score: float | None = None
        self._pictures, self._start = 0, time.monotonic()

    def begin_run(self, done: int) -> None:
        """Start the bar of the run. `done` is the number of batches that are already finished."""
        self._progress.begin_whole("run", self._epochs * self._per_epoch, done)

    def begin_epoch(self, done: int) -> None:
        """Start the bar of the next epoch, if there is one. `done` is the number of finished batches of the run."""
        epoch, in_epoch = divmod(done, self._per_epoch)
        self._pictures, self._start = 0, time.monotonic()
        if epoch < self._epochs:
            self._progress.begin(f"epoch {epoch + 1}/{self._epochs}", self._per_epoch, in_epoch)

    def scored(self, score: float | None) -> None:
        """Set the validation score to display; None to display no score."""
        self._score = score

    def batch(self, loss: float, pictures: int) -> None:
        """Advance both bars by one batch.

        Args:
            loss: mean loss of the epoch so far.
            pictures: number of images in the batch over all processes.
        """
        self._pictures += pictures
        rate = self._pictures / max(time.monotonic() - self._start, 1e-9)
        score = "" if self._score is None else f"{self._name} {self._score:.4f}, "
        self._progress.advance_whole()
        self._progress.advance(f"loss {loss:.3f}, {score}{rate:.{0 if rate >= 10 else 1}f} images/s")
