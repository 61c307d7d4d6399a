"""The comparison with MLPerf's LoadGen, with a model that only waits."""

from __future__ import annotations

import time
from collections.abc import Sequence

import pytest

from zoo.benchmarks.peers import loadgen as benchmark
from zoo.benchmarks.peers.loadgen import main, ours, theirs

_WAIT_S = 0.004


def waiting(numbers: Sequence[int]) -> None:
    time.sleep(_WAIT_S)


@pytest.mark.parametrize("name", ["single_stream", "offline", "server"])
def test_both_measure_a_model(name: str) -> None:
    loadgen = pytest.importorskip("mlperf_loadgen")
    for found in (ours(name, waiting, 20.0, 0.2), theirs(loadgen, name, waiting, 40.0, 0.2)):
        if name == "offline":
            assert 100 < found <= benchmark._BATCH / _WAIT_S
        else:
            assert 1000 * _WAIT_S <= found < 200


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr("importlib.import_module", missing)
    assert main([]) == 2
    assert "pip install 'resnet-zoo[loadgen]'" in capsys.readouterr().err
