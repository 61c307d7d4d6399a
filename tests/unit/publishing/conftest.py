"""Fixtures for tests of the Hub: a local server, an empty cache, and saved models."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants
from huggingface_hub.utils import disable_progress_bars  # type: ignore[attr-defined]

from tests.unit.publishing.hub import Hub, serving
from zoo import build, save
from zoo.models.weights import licences


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """Run a server of the Hub, which this process uses with an empty cache."""
    disable_progress_bars()
    for name in ("HF_HUB_OFFLINE", "HF_TOKEN", licences.VARIABLE):
        monkeypatch.delenv(name, raising=False)
    with serving() as found:
        monkeypatch.setenv("HF_ENDPOINT", found.address)
        monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        yield found


@pytest.fixture(scope="session")
def birds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a saved classifier with a network of timm."""
    model = build("resnet10t", classes=["robin", "wren"], image_size=64)
    model.metadata["thresholds"] = {"wren": 0.25}
    return save(model, tmp_path_factory.mktemp("models") / "birds")


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a saved classifier with a network that timm doesn't have."""
    return save(build("resnet20", classes=["0", "1"]), tmp_path_factory.mktemp("models") / "digits")


@pytest.fixture
def commit(hub: Hub, digits: Path) -> str:
    """Create a repository with a saved model, a branch `v1` with the same commit, and return the hash of the commit."""
    found = hub.add_folder("me/digits", digits)
    hub.repositories["me/digits"].refs["v1"] = found
    return found
