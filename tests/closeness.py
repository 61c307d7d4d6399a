"""Comparison of results that may differ in the last bits, because a kernel may round differently for another batch size."""

from __future__ import annotations

from typing import Any

import pytest


def assert_close(found: Any, expected: Any, where: str = "") -> None:
    """Compare nested dicts and lists: floats to a millionth, everything else exactly."""
    if isinstance(expected, dict):
        assert list(found) == list(expected), where
        for name, value in expected.items():
            assert_close(found[name], value, f"{where}.{name}")
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected), where
        for place, (one, other) in enumerate(zip(found, expected, strict=True)):
            assert_close(one, other, f"{where}[{place}]")
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=1e-6, abs=1e-6, nan_ok=True), where
    else:
        assert found == expected, where
