"""The same model without a server: `zoo.predict` on the same files, and single calls, in a separate process that holds the model."""

from __future__ import annotations

import json
import multiprocessing
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

from zoo import Model, load, predict
from zoo.prediction.session import Session

_HELD: dict[str, Any] = {}  # model and session of the process


def _load(folder: Path) -> None:
    model: Model = load(folder)
    _HELD.update(model=model, session=Session(model))


def _rate(photos: Path, seconds: float) -> float:
    count, begun = 0, time.perf_counter()
    while (took := time.perf_counter() - begun) < seconds:
        count += len(_texts(photos))
    return count / took


def _texts(photos: Path) -> list[str]:
    """Predict on a folder, and encode the predictions as `zoo predict --json` does."""
    return [json.dumps(prediction.to_dict()) for prediction in predict(_HELD["model"], photos)]


def _single(files: Sequence[str], seconds: float) -> list[float]:
    """Return the times in milliseconds of decoding one picture and calling the model."""
    session: Session = _HELD["session"]
    contents, found = [Path(file).read_bytes() for file in files], list[float]()
    end = time.perf_counter() + seconds
    while (begun := time.perf_counter()) < end:
        session.predict([session.read(contents[len(found) % len(contents)], "picture")])
        found.append(1000 * (time.perf_counter() - begun))
    return found


class InProcess:
    """A process that holds a model, as a context manager."""

    def __init__(self, model: Path) -> None:
        """Start the process and load the model."""
        self._pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _load, (model,))

    def __enter__(self) -> InProcess:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._pool.shutdown()

    def rate(self, photos: Path, seconds: float) -> float:
        """Return the pictures per second of `zoo predict --json` on a folder, without the time for loading the model."""
        return self._pool.submit(_rate, photos, seconds).result()

    def texts(self, photos: Path) -> list[str]:
        """Return the predictions for a folder as JSON."""
        return self._pool.submit(_texts, photos).result()

    def single(self, files: Sequence[str], seconds: float) -> list[float]:
        """Return the times in milliseconds of decoding one picture and calling the model."""
        return self._pool.submit(_single, files, seconds).result()
