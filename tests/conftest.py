"""Fixtures for every test."""

from __future__ import annotations

from pathlib import Path

import pytest

_SHARED = Path(__file__).resolve().parents[1].parent / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the repository; a test that needs it is skipped where it is absent."""
    if not _SHARED.is_dir():
        pytest.skip(f"needs the real data in {_SHARED}, which is not there")
    return _SHARED
