"""Conversion without usage statistics."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

_SENDING = ("start_session", "end_session", "send_event", "send_error", "send_stack_trace")


def _nothing(*arguments: Any, **options: Any) -> None:
    """Send nothing."""


@contextlib.contextmanager
def no_statistics() -> Iterator[None]:
    """Return a context in which OpenVINO and NNCF send no usage statistics.

    By default, they do so at every conversion, and fork this process for it, which takes a second or more without a network.
    """
    try:
        from openvino_telemetry import Telemetry
    except ImportError:
        yield
        return
    before = {name: getattr(Telemetry, name) for name in _SENDING if hasattr(Telemetry, name)}
    for name in before:
        setattr(Telemetry, name, _nothing)
    try:
        yield
    finally:
        for name, method in before.items():
            setattr(Telemetry, name, method)
