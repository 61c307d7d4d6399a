"""Suppression of log messages that are useful only to the authors of third-party libraries."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator

_LOCK = threading.Lock()
_KEPT: dict[str, tuple[int, int]] = {}  # by logger name: number of active contexts, and the level before the first one


@contextlib.contextmanager
def errors_alone(*names: str) -> Iterator[None]:
    """Suppress messages below the level ERROR from the named loggers.

    If several threads are in the context, the original level is restored when the last of them leaves it.
    """
    with _LOCK:
        for name in names:
            logger = logging.getLogger(name)
            count, level = _KEPT.get(name, (0, logger.level))
            _KEPT[name] = count + 1, level
            logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        with _LOCK:
            for name in names:
                count, level = _KEPT.pop(name)
                if count > 1:
                    _KEPT[name] = count - 1, level
                else:
                    logging.getLogger(name).setLevel(level)
