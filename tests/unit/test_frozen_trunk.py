"""Training on cached features: the same as training on the pictures, whatever happens to cache, run and processes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.unit.test_training import RECIPE, coloured, fresh, same
from zoo.training import train

pytestmark = pytest.mark.usefixtures("one_thread")

PLAIN = replace(RECIPE, freeze="trunk", crop_scale=1.0, flip=0.0)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "features"


def test_the_head_learns_what_it_learns_without_the_cache(tmp_path: Path, cache: Path) -> None:
    slow = train(fresh(), coloured(), coloured(6), replace(PLAIN, feature_cache=False), tmp_path / "slow")
    assert not cache.exists()
    quick = train(fresh(), coloured(), coloured(6), PLAIN, tmp_path / "quick")
    assert len(list(cache.iterdir())) == 2
    assert same(quick.model.backbone.state_dict(), slow.model.backbone.state_dict())
    for key, value in slow.model.head.state_dict().items():
        torch.testing.assert_close(quick.model.head.state_dict()[key], value, rtol=1e-5, atol=1e-6)
    print(slow.history, quick.history)
