"""What is seen of a training while it runs: loss, last validation score, pictures per second, and what is left of epoch and run."""

from __future__ import annotations

import time

from zoo.system.progress import Progress


class TrainingProgress:
    """Moves the bars of the epoch and of the run."""

    def __init__(self, progress: Progress, epochs: int, per_epoch: int, score: str) -> None:
        """Take what doesn't change.

        Args:
            progress: where it is drawn.
            epochs: of the whole run.
            per_epoch: batches of an epoch.
            score: name of the validation score that is shown.
        """
        self._progress, self._epochs, self._per_epoch, self._name = progress, epochs, per_epoch, score
        self._score: float | None = None
        self._pictures, self._start = 0, time.monotonic()

    def begin_run(self, done: int) -> None:
        """Start the bar of the run.

        Args:
            done: batches that an interrupted run had behind it.
        """
        self._progress.begin_whole("run", self._epochs * self._per_epoch, done)

    def begin_epoch(self, done: int) -> None:
        """Start the bar of an epoch; after the last one there is none.

        Args:
            done: batches of the run so far.
        """
        epoch, in_epoch = divmod(done, self._per_epoch)
        self._pictures, self._start = 0, time.monotonic()
        if epoch < self._epochs:
            self._progress.begin(f"epoch {epoch + 1}/{self._epochs}", self._per_epoch, in_epoch)

    def scored(self, score: float | None) -> None:
        """Take the score of a validation, which is shown from now on; None where the data doesn't support it."""
        self._score = score

    def batch(self, loss: float, pictures: int) -> None:
        """Move on by a batch.

        Args:
            loss: mean over the epoch so far.
            pictures: in the batch, of all processes.
        """
        self._pictures += pictures
        rate = self._pictures / max(time.monotonic() - self._start, 1e-9)
        score = "" if self._score is None else f"{self._name} {self._score:.4f}, "
        self._progress.advance_whole()
        self._progress.advance(f"loss {loss:.3f}, {score}{rate:.{0 if rate >= 10 else 1}f} pictures/s")
