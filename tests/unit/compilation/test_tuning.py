"""`engine="auto"`, with engines whose speed the test sets."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

import zoo
import zoo.compilation.tuning
from tests.engines import Fake, fake, small_model
from zoo.engines import ENGINES
from zoo.errors import InputError
from zoo.system.cache import cache_folder

pytestmark = pytest.mark.usefixtures("one_thread")
__all__ = ["fake"]


@pytest.fixture(autouse=True)
def only_fakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake: type[Fake]) -> None:
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(zoo.compilation.tuning, "cpu_has_bf16", lambda: False)
    for name in ("inductor", "onnxruntime", "openvino"):
        monkeypatch.delitem(ENGINES._definitions, name)
    monkeypatch.setattr(zoo.compilation.tuning, "_ORDER", ())
    monkeypatch.setattr(zoo.compilation.tuning, "_milliseconds", lambda model, batch: fake.ms if model.making.engine == "fake" else 30.0)


def tuned(**settings: Any) -> tuple[zoo.Compiled, list[str]]:
    said: list[str] = []
    return zoo.compile(small_model("classification"), batch_size=2, say=said.append, **settings), said


def test_the_quicker_engine_is_taken_and_remembered(fake: type[Fake]) -> None:
    chosen, said = tuned()
    assert chosen.making.engine == "fake"
    assert said[-1].startswith("engine auto: fake, fp32, ")
    (kept,) = cache_folder("engines").iterdir()
    assert json.loads(kept.read_text())["engine"] == "fake"
    fake.ms = 1000.0  # would not win a second time
    chosen, said = tuned()
    assert chosen.making.engine == "fake"
    assert said == [f"engine fake, fp32 (fastest here in an earlier measurement): {chosen.making.agreement}"]


def test_another_batch_size_is_measured_anew(fake: type[Fake]) -> None:
    tuned()
    zoo.compile(small_model("classification"), batch_size=3)
    assert len(list(cache_folder("engines").iterdir())) == 2


@pytest.mark.parametrize("content", ["{", '{"engine": "gone", "precision": "fp32"}', "[]"])
def test_a_choice_that_makes_no_sense_is_made_anew(content: str) -> None:
    tuned()
    (kept,) = cache_folder("engines").iterdir()
    kept.write_text(content)
    assert tuned()[0].making.engine == "fake"
    assert json.loads(kept.read_text())["engine"] == "fake"


def test_where_nothing_is_quicker_it_is_eager(fake: type[Fake]) -> None:
    fake.ms = 200.0
    chosen, said = tuned()
    assert chosen.making.engine == "eager"
    assert said[-1] == "engine auto: no engine that was tried is faster than eager"


def test_a_wrong_engine_is_not_taken(fake: type[Fake]) -> None:
    fake.offset = 1e3
    chosen, said = tuned()
    assert chosen.making.engine == "eager"
    assert any("engine fake, fp32: the model compiled with engine fake" in line for line in said)


def test_an_engine_for_which_there_is_no_time_is_named(fake: type[Fake]) -> None:
    fake.seconds = 100.0
    chosen, said = tuned(tune_seconds=5)
    assert chosen.making.engine == "eager"
    assert any(re.match(r"engine fake, fp32: not tried, only \d of 5 seconds are left; .*--tune-seconds", line) for line in said)


def test_what_is_not_installed_is_named(fake: type[Fake]) -> None:
    fake.pip = "the engine fake needs the package fake: pip install fake"
    chosen, said = tuned()
    assert chosen.making.engine == "eager"
    assert said[0] == fake.pip


def test_a_precision_that_nothing_has_is_an_error(fake: type[Fake]) -> None:
    fake.pip = "not installed"
    with pytest.raises(InputError, match=r"no installed engine supports int8; install one: pip install 'resnet-zoo\[openvino\]'"):
        tuned(precision="int8", data="demo:digits?limit=4")


@pytest.mark.parametrize(("eager_ms", "winner"), [(103.0, "eager"), (107.0, "fake")])
def test_a_gain_within_the_noise_is_none(eager_ms: float, winner: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zoo.compilation.tuning, "_in_turn", lambda eager, compiled, batch, budget_s: (eager_ms, 100.0))
    assert tuned()[0].making.engine == winner


def test_an_engine_whose_bf16_answers_otherwise_computes_in_fp32(fake: type[Fake], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoo.compilation.compile.cpu_has_bf16", lambda: True)
    start = fake.start

    def spoilt(self: Fake, converted: Any, precision: Any, threads: int) -> Any:
        fake.reverses = precision == "bf16"
        return start(self, converted, precision, threads)

    monkeypatch.setattr(fake, "start", spoilt)
    said: list[str] = []
    chosen = zoo.compile(small_model("classification"), engine="fake", say=said.append)
    assert (chosen.making.engine, chosen.precision) == ("fake", "fp32")
    assert "% of the predictions are equal (at least 99.5 %)" in said[0]
    assert said[0].endswith("; falling back to fp32")
    assert said[1].startswith("engine fake, fp32: ")
