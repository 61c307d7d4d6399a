"""By what features are computed, with engines whose speed and errors a test decides, on a clock of its own."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

import zoo.compilation.tuning
from tests.engines import KEEPING, Fake, small_model
from tests.listening import Listening
from tests.small_training import coloured, fresh
from zoo.engines import ENGINES, Runner, Tensors
from zoo.errors import InputError
from zoo.images.decoding import Decoding
from zoo.images.preprocess import ImageBatch, Preprocess
from zoo.models.model import Model
from zoo.training.features.cache import FeatureCache, pooled_features
from zoo.training.features.engine import AsBefore, Quickest, Rows, engine_features, usable_engines

pytestmark = pytest.mark.usefixtures("one_thread")
_SIZE = 2  # pictures in a batch


class Clock:
    """Goes on when something is computed."""

    now: ClassVar[float] = 0.0


class Timed(Fake):
    """An engine that takes as long as it is told to, for any picture."""

    pace: ClassVar[float] = 0.25
    fault: ClassVar[type[Exception] | None] = None
    started: ClassVar[list[str]] = []

    def start(self, converted: Any, precision: Any, threads: int) -> Runner:
        self.started.append(precision)
        plain = super().start(converted, precision, threads)

        def run(*inputs: torch.Tensor) -> Tensors:
            Clock.now += self.pace * len(inputs[0])
            if self.fault is not None:
                raise self.fault()
            return plain(*inputs)

        return run


class First(Timed):
    """Is tried first."""

    name = "first"
    started: ClassVar[list[str]] = []


class Second(Timed):
    """Is tried after the first."""

    name = "second"
    started: ClassVar[list[str]] = []


@pytest.fixture(autouse=True)
def only_fakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("zoo.training.features.engine.time", SimpleNamespace(perf_counter=lambda: Clock.now))
    assert "eager" in ENGINES
    for name in ("inductor", "onnxruntime", "openvino"):
        monkeypatch.delitem(ENGINES._definitions, name)
    monkeypatch.setattr(zoo.compilation.tuning, "_ORDER", ("first", "second"))
    monkeypatch.setitem(ENGINES._definitions, "first", First)
    monkeypatch.setitem(ENGINES._definitions, "second", Second)
    yield
    First.started.clear()
    Second.started.clear()


def eager(images: ImageBatch, seconds: float = 1.0) -> Rows:
    """Compute in eager, a second per picture."""
    Clock.now += seconds * len(images)
    return pooled_features(small_model("classification"), images, "fp32")


def pictures(number: int) -> ImageBatch:
    pixels = torch.rand(_SIZE, 3, 32, 32, generator=torch.Generator().manual_seed(number))
    return ImageBatch(pixels, ((32, 32),) * _SIZE, ((32, 32),) * _SIZE)


def computed(batches: int = 12, engines: tuple[str, ...] = ("first",), precision: Any = "fp32") -> tuple[Quickest, list[Rows], list[str]]:
    said: list[str] = []
    computing = Quickest(small_model("classification"), precision, batches, engines, eager, said.append)
    return computing, [computing(number, pictures(number)) for number in range(batches)], said


def off_by(part: float) -> float:
    """Return what must be added to features of batch 1, with which engines are compared, to be off by so much of the largest."""
    return part * float(np.abs(eager(pictures(1))).max())


def check_right(rows: list[Rows]) -> None:
    for number, each in enumerate(rows):
        np.testing.assert_allclose(each, eager(pictures(number)), rtol=1e-5, atol=1e-6)


def test_a_quicker_engine_takes_over_and_nothing_is_computed_twice() -> None:
    before = Clock.now
    computing, rows, said = computed()
    assert computing.turns == ((2, "first"),)
    # two batches of eager, one more to compare, and the rest
    assert Clock.now - before == pytest.approx(2 * _SIZE * 1.0 + 1 * _SIZE * 0.25 + 10 * _SIZE * 0.25)
    (line,) = said
    assert line.startswith("features are computed by first, fp32: 4.0 times as quick as eager, largest relative error ")
    check_right(rows)


@pytest.mark.parametrize(("batches", "tried"), [(11, False), (12, True)])
def test_engines_are_tried_only_where_the_rest_takes_three_times_as_long(
    batches: int, tried: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(First, "seconds", 4.0)  # with a batch of two seconds: six for a trial, and nine batches take three times that
    computing, _, said = computed(batches)
    assert bool(First.started) == bool(computing.turns) == bool(said) == tried


@pytest.mark.parametrize(
    ("pace", "turns"), [(0.97, ((2, "first"), (4, "eager"))), (0.93, ((2, "first"),)), (9.0, ((2, "first"), (4, "eager")))]
)
def test_what_is_not_quicker_is_left_again_and_its_features_stand(pace: float, turns: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(First, "pace", pace)
    computing, rows, said = computed()
    assert computing.turns == turns
    assert len(said) == 2 - len(turns)
    check_right(rows)


def test_the_quicker_of_two_batches_counts() -> None:
    """As the first one of eager is slow, which would make anything look quick."""
    paces = iter([100.0, 0.2] + [1.0] * 20)
    computing = Quickest(
        small_model("classification"), "fp32", 12, ("first",), lambda images: eager(images, next(paces)), lambda text: None
    )
    for number in range(12):
        computing(number, pictures(number))
    assert computing.turns == ((2, "first"), (4, "eager"))


@pytest.mark.parametrize(
    ("second", "turns", "lines"),
    [(0.1, ((2, "first"), (4, "second")), 2), (0.5, ((2, "first"), (4, "second"), (6, "first")), 1)],
)
def test_the_quickest_of_several_computes_in_the_end(second: float, turns: Any, lines: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Second, "pace", second)
    computing, rows, said = computed(engines=("first", "second"))
    assert computing.turns == turns
    assert len(said) == lines
    check_right(rows)


def test_the_next_engine_has_to_pay_beside_the_best_one_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Second, "pace", 0.01)
    monkeypatch.setattr(Second, "seconds", 1.0)  # the eight batches that are left take 4 seconds by the first, and 16 in eager
    computing, _, _ = computed(engines=("first", "second"))
    assert computing.turns == ((2, "first"),)


@pytest.mark.parametrize(("part", "taken"), [(5e-5, True), (2e-4, False), (math.nan, False)])
def test_an_engine_that_is_off_is_not_taken(part: float, taken: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(First, "offset", off_by(part))
    computing, rows, said = computed()
    assert (computing.turns == ((2, "first"),)) == taken
    if not taken:
        assert computing.turns == ()
        assert said == [f"features are not computed by first, fp32: off by {part:.2g} of the largest (at most 0.0001)"]
        check_right(rows)


def test_the_next_engine_is_compared_with_eager_not_with_the_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(First, "offset", off_by(8e-5))
    monkeypatch.setattr(Second, "offset", off_by(-8e-5))  # further from the first than it may be
    monkeypatch.setattr(Second, "pace", 0.1)
    assert computed(engines=("first", "second"))[0].turns[-1] == (4, "second")


def test_what_an_engine_runs_into_is_said_and_eager_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(First, "refuses", ("features",))
    monkeypatch.setattr(Second, "fault", MemoryError)
    computing, rows, said = computed(engines=("first", "second"))
    assert computing.turns == ()
    assert said == [
        "features are not computed by first: the engine fake can't run the network 'features'",
        "features are not computed by second: MemoryError",
    ]
    check_right(rows)


def test_without_engines_it_is_eager() -> None:
    computing, rows, said = computed(engines=())
    assert (computing.turns, said) == ((), [])
    check_right(rows)


def test_bf16_is_computed_in_bf16_and_may_be_further_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(First, "offset", off_by(1e-2))
    assert computed(precision="bf16")[0].turns == ((2, "first"),)
    monkeypatch.setattr(First, "offset", off_by(3e-2))
    assert computed(precision="bf16")[0].turns == ()
    assert First.started == ["bf16", "bf16"]


# -- which engines there are -------------------------------------------------------------------------------------------


def test_engines_compute_on_the_processor_what_they_can(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small_model("classification")
    monkeypatch.setattr(Second, "precisions", ("fp32",))
    assert usable_engines(model, "fp32") == ["first", "second"]
    assert usable_engines(model, "bf16") == ["first"]
    assert usable_engines(model, "fp16") == []
    assert usable_engines(fresh().to("meta"), "fp32") == []
    of_any_size = fresh()
    of_any_size.preprocess = Preprocess("fit", (32, 64))
    assert usable_engines(of_any_size, "fp32") == []
    monkeypatch.setattr(First, "pip", "not installed")
    assert usable_engines(model, "fp32") == ["second"]


@pytest.mark.slow
@pytest.mark.parametrize("engine", KEEPING)
@pytest.mark.parametrize("task", ["classification", "face"])
def test_real_engines_agree(task: str, engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    model = small_model(task)
    for precision in ("fp32", "bf16") if engine == "openvino" else ("fp32",):
        compute = engine_features(model, engine, precision)
        found = [compute(pictures(number)) for number in range(2)]
        for number, got in enumerate(found):  # what was answered first is what it was, after the engine was asked again
            wanted = pooled_features(model, pictures(number), "fp32")
            assert got.dtype == np.float32
            assert np.abs(got - wanted).max() / np.abs(wanted).max() < (1e-4 if precision == "fp32" else 2e-2)


# -- again -------------------------------------------------------------------------------------------------------------


def test_it_is_computed_again_in_the_same_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(First, "offset", 1e-6)  # last bits that can be told from eager's
    monkeypatch.setattr(Second, "offset", -1e-6)
    monkeypatch.setattr(Second, "pace", 0.5)
    computing, rows, _ = computed(engines=("first", "second"))
    assert len(computing.turns) == 3
    model = small_model("classification")
    again = AsBefore(model, "fp32", computing.turns, eager)
    assert again.turns == computing.turns
    for number, each in enumerate(rows):
        np.testing.assert_array_equal(again(number, pictures(number)), each)
    assert not np.array_equal(AsBefore(model, "fp32", (), eager)(2, pictures(2)), rows[2])


def test_an_engine_that_is_gone_can_not_compute_again(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small_model("classification")
    with pytest.raises(InputError, match=r"computed by the engine gone .*\(it can't compute this model in fp32 on cpu\); make it usable"):
        AsBefore(model, "fp32", ((2, "gone"),), eager)
    monkeypatch.setattr(First, "pip", "pip install first")
    with pytest.raises(InputError, match=r"computed by the engine first and are kept no longer.*\(pip install first\).*\(--out\)"):
        AsBefore(model, "fp32", ((2, "first"), (4, "eager")), eager)
    AsBefore(model, "fp32", ((2, "eager"),), eager)


# -- in the cache ------------------------------------------------------------------------------------------------------


def cache_of(monkeypatch: pytest.MonkeyPatch, model: Model) -> tuple[FeatureCache, list[str]]:
    """Return a cache that computes two pictures at a time, in eager a second for each."""
    monkeypatch.setattr("zoo.training.features.cache.pick_batch_size", lambda *asked: _SIZE)
    monkeypatch.setattr("zoo.training.features.cache.pooled_features", slow_features)
    listening = Listening()
    return FeatureCache(model, "fp32", Decoding(), "raise", 0, listening, engines=("first",)), listening.lines


def slow_features(model: Model, images: ImageBatch, precision: Any) -> Rows:
    Clock.now += len(images)
    return pooled_features(model, images, precision)


def test_the_cache_knows_what_has_computed_its_features(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(First, "offset", 1e-6)
    cache, lines = cache_of(monkeypatch, fresh().train())
    found = cache.rows(coloured(20))
    assert found.turns == ((2, "first"),)
    assert cache.rows(coloured(20)).turns == found.turns
    assert "are taken from" in lines[-1]
    assert cache.rows(coloured(20), ((2, "first"),)).turns == found.turns
    assert "are taken from" in lines[-1]
    plain = replace(cache, engines=()).rows(coloured(20), ())  # of a run that began in eager
    assert "are kept in" in lines[-1]
    assert plain.turns == ()
    assert [bool((one == other).all()) for one, other in zip(plain.rows, found.rows, strict=True)] == [True] * 4 + [False] * 16
    again = cache.rows(coloured(20), found.turns)
    torch.testing.assert_close(again.rows, found.rows, rtol=0, atol=0)


def test_the_cache_is_eager_by_itself_and_where_there_is_little(monkeypatch: pytest.MonkeyPatch) -> None:
    cache, _ = cache_of(monkeypatch, fresh())
    assert replace(cache, engines=()).rows(coloured(20)).turns == ()
    assert cache.rows(coloured(10)).turns == ()  # three batches are left after two of eager: a trial would cost the time of one


def test_batches_without_pictures_count(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Else what is computed again would take turns elsewhere."""
    cache, _ = cache_of(monkeypatch, fresh())
    data = coloured(20)
    (tmp_path / "bad.png").write_bytes(b"no picture")
    bad = tuple(replace(record, source=tmp_path / "bad.png") for record in data.records[:2])
    found = replace(cache, on_error="skip").rows(replace(data, records=(*bad, *data.records[2:])))
    assert found.turns == ((3, "first"),)
    assert sorted(found.faults) == [0, 1]
