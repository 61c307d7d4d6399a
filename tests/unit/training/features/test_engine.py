"""Choice of the engine that computes features, with fake engines whose speed and errors are set by the test."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

import zoo
import zoo.compilation.tuning
import zoo.training.features.engine
from tests.engines import KEEPING, small_model
from tests.small_training import fresh
from tests.unit.training.features.timed_engines import SIZE, First, Second, timed
from zoo.images.preprocess import ImageBatch, Preprocess
from zoo.models.model import Model
from zoo.training.features.engine import choose_engine, eager_features, engine_features, usable_engines

pytestmark = pytest.mark.usefixtures("one_thread", "measured")
_LONG = 61  # batches that take longer than 60 seconds in eager, at one second per batch


def pictures(number: int = 0) -> ImageBatch:
    pixels = torch.rand(SIZE, 3, 32, 32, generator=torch.Generator().manual_seed(number))
    return ImageBatch(pixels, ((32, 32),) * SIZE, ((32, 32),) * SIZE)


def chosen(
    batches: int = _LONG, engines: tuple[str, ...] = ("first", "second"), precision: Any = "fp32", model: Model | None = None
) -> tuple[str, list[str]]:
    """Return the chosen engine and the messages."""
    said: list[str] = []
    return choose_engine(model or small_model("classification"), precision, pictures(), batches, engines, said.append), said


def off_by(part: float, precision: Any = "fp32") -> float:
    """Return what must be added to the features so that their relative error is `part`."""
    return part * float(np.abs(eager_features(small_model("classification"), pictures(), precision)).max())


def test_the_fastest_engine_that_agrees_is_chosen_and_named() -> None:
    engine, (line,) = chosen()
    assert engine == "first"
    assert line.startswith("features are computed with the engine first (fp32); maximum relative error ")
    assert "features" in First.converted


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [(25.0, 50.0, "first"), (50.0, 25.0, "second"), (200.0, 25.0, "second"), (96.0, 200.0, "eager"), (94.0, 200.0, "first")],
)
def test_what_compile_finds_fastest_is_chosen(first: float, second: float, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Less than 5 % is within timing noise."""
    monkeypatch.setattr(First, "ms", first)
    monkeypatch.setattr(Second, "ms", second)
    engine, said = chosen()
    assert engine == expected
    assert len(said) == (engine != "eager")


@pytest.mark.parametrize(("batches", "tried"), [(59, False), (60, True)])
def test_engines_are_measured_only_where_eager_takes_three_times_as_long_as_measuring_may(
    batches: int, tried: bool, measured: list[str]
) -> None:
    engine, said = chosen(batches)
    assert (engine == "first") == bool(said) == bool(First.started) == bool(measured) == tried


def test_a_slow_first_call_alone_does_not_count(measured: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The first call allocates memory. Where even the first call is fast, there is no second one."""
    seconds = timed(monkeypatch, 100.0, 0.1)
    assert chosen(599) == ("eager", [])
    assert (seconds.calls, measured) == (2, [])
    seconds = timed(monkeypatch, 0.1)
    assert chosen(599) == ("eager", [])
    assert (seconds.calls, measured) == (1, [])


def test_without_engines_nothing_is_computed(measured: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = timed(monkeypatch, 1.0)
    assert chosen(10**6, engines=()) == ("eager", [])
    assert (seconds.calls, measured) == (0, [])


def test_an_engine_that_may_not_be_used_is_not_chosen() -> None:
    """As when another process of the job doesn't have it."""
    assert chosen(engines=("second",)) == ("eager", [])


def test_the_choice_is_remembered(measured: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The features of validation data are computed by the same engine, whatever the clock."""
    assert chosen()[0] == "first"
    assert measured
    measured.clear()
    monkeypatch.setattr(First, "ms", 200.0)
    assert chosen()[0] == "first"
    assert not measured


@pytest.mark.parametrize(
    ("precision", "part", "taken"), [("fp32", 5e-5, True), ("fp32", 2e-4, False), ("bf16", 1e-2, True), ("bf16", 3e-2, False)]
)
def test_features_that_disagree_are_refused(precision: Any, part: float, taken: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(First, "shift", off_by(part, precision))
    engine, (line,) = chosen(precision=precision)
    assert engine == ("first" if taken else "eager")
    assert set(First.started) == {precision}
    if not taken:
        assert line.startswith(
            f"features are computed with eager, because those of the engine first ({precision}) have a relative error of "
        )
        assert line.endswith(f" (maximum: {0.0001 if precision == 'fp32' else 0.02:g})")
        assert float(line.split("relative error of ")[1].split()[0]) == pytest.approx(part, rel=0.3)


def test_features_that_are_not_finite_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(First, "shift", math.nan)
    engine, said = chosen()
    assert engine == "eager"
    assert said == [
        "features are computed with eager, because those of the engine first (fp32) have a relative error of nan (maximum: 0.0001)"
    ]


@pytest.mark.parametrize(
    ("defect", "reason"),
    [
        ({"refuses": ("features",)}, "the engine fake can't run the network 'features'"),
        ({"fault": MemoryError()}, "MemoryError"),
        ({"fault": RuntimeError("no kernel\nat line 7")}, "RuntimeError: no kernel"),
    ],
)
def test_an_engine_that_fails_is_named(defect: dict[str, Any], reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in defect.items():
        monkeypatch.setattr(First, name, value)
    assert chosen() == ("eager", [f"features are computed with eager; the engine first failed: {reason}"])


def test_an_engine_that_can_not_run_the_model_leaves_the_choice_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(First, "refuses", ("pictures", "features"))
    assert chosen()[0] == "second"


def test_whatever_compile_raises_eager_works(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: Any, **options: Any) -> Any:
        raise RuntimeError("the library is broken")

    monkeypatch.setattr(zoo.training.features.engine, "compile", broken)
    assert chosen() == ("eager", ["features are computed with eager; the engine auto failed: RuntimeError: the library is broken"])


def test_a_head_without_stored_features_can_have_an_engine_too() -> None:
    """Such a head makes no predictions, which engines are compared by, before the features are there."""
    torch.manual_seed(0)
    model = zoo.build("resnet20", classes=["cat", "dog", "eel"], classifier="knn").eval()
    assert chosen(model=model)[0] == "first"
    memory: Any = model.head.memory
    assert not len(memory)


def test_features_outlive_the_next_call_of_the_engine() -> None:
    compute = engine_features(small_model("classification"), "first", "fp32")
    first = compute(pictures())
    kept = first.copy()
    assert not np.array_equal(compute(pictures(1)), kept)
    np.testing.assert_array_equal(first, kept)


# -- which engines there are -------------------------------------------------------------------------------------------


def test_engines_compute_on_the_cpu_in_the_precisions_they_support(monkeypatch: pytest.MonkeyPatch) -> None:
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
        for number, got in enumerate(found):  # the first features are unchanged after the second call
            wanted = eager_features(model, pictures(number), "fp32")
            assert got.dtype == np.float32
            assert np.abs(got - wanted).max() / np.abs(wanted).max() < (1e-4 if precision == "fp32" else 2e-2)


@pytest.mark.slow
@pytest.mark.parametrize("engine", KEEPING)
def test_a_real_engine_is_chosen(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(zoo.compilation.tuning, "candidates", lambda precision, say: [(engine, precision)])
    monkeypatch.setattr(zoo.compilation.tuning, "_milliseconds", lambda model, batch: 2.0 - (model.making.engine == engine))
    timed(monkeypatch, 1.0)
    assert chosen(engines=(engine,))[0] == engine
