"""Keeps libraries from telling users what only their authors can use."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator

_LOCK = threading.Lock()
_KEPT: dict[str, tuple[int, int]] = {}  # by logger, how many keep it quiet, and its level before the first of them


@contextlib.contextmanager
def errors_alone(*names: str) -> Iterator[None]:
    """Keep everything below an error that these loggers have to say to themselves, until the last thread that wants it has ended.

    Args:
        names: of loggers.
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
