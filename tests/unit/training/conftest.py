"""A finished run that the tests of a module share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.small_training import RECIPE, coloured, fresh
from zoo.training.train import train


@pytest.fixture(scope="module")
def whole(one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(fresh(), coloured(), None, RECIPE, tmp_path_factory.mktemp("whole") / "run").folder
