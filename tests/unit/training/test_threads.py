"""A training run stores its number of threads, and a resumed run computes with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.small_training import RECIPE, StopAt, coloured, fresh
from zoo.system.signals import Interrupted
from zoo.system.threads import Threads
from zoo.training import batches, train


def test_a_resumed_run_has_the_threads_of_its_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    own = Threads()
    monkeypatch.setattr(own, "adapt", own._now)
    monkeypatch.setattr(train, "THREADS", own)
    monkeypatch.setattr(batches, "THREADS", own)
    seen: list[int] = []
    loss = torch.nn.functional.cross_entropy

    def noted(*arguments: Any, **options: Any) -> torch.Tensor:
        seen.append(torch.get_num_threads())
        return loss(*arguments, **options)

    monkeypatch.setattr(torch.nn.functional, "cross_entropy", noted)
    try:
        with pytest.raises(Interrupted):
            train.train(fresh(), coloured(), None, RECIPE, tmp_path / "run", progress=StopAt(1))
        file = tmp_path / "run" / "run.json"
        content = json.loads(file.read_text())
        assert content["threads"] == 2
        file.write_text(json.dumps({**content, "threads": 1}))
        seen.clear()
        train.train(fresh(), coloured(), None, RECIPE, tmp_path / "run", resume=True)
        assert set(seen) == {1}
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
