"""Choice of the engine that computes features, with fake engines whose speed and errors are set by the test."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import zoo
import zoo.compilation.tuning
import zoo.training.features.cache
import zoo.training.features.engine
from tests.engines import KEEPING, Fake, small_model
from tests.listening import Listening
from tests.small_training import coloured, fresh
from zoo.data.dataset import Dataset
from zoo.engines import ENGINES, Network, Runner, Tensors
from zoo.errors import ImageError, UnknownNameError
from zoo.images.decoding import Decoding
from zoo.images.preprocess import ImageBatch, Preprocess
from zoo.models.model import Model
from zoo.training.features.cache import FeatureCache
from zoo.training.features.engine import choose_engine, eager_features, engine_features, usable_engines

pytestmark = pytest.mark.usefixtures("one_thread")
_SIZE = 2  # images per batch
_LONG = 61  # batches that take longer than 60 seconds in eager, at one second per batch
_TRAINING = "zoo.training.features"


class Altered(nn.Module):
    """The network of pooled features with a defect; its output is overwritten by its next call, as that of real engines."""

    def __init__(self, module: nn.Module, offset: float, fault: Exception | None) -> None:
        super().__init__()
        self.module, self.offset, self.fault = module, offset, fault
        self.output: Tensor | None = None

    def forward(self, pixels: Tensor) -> Tensors:
        if self.fault is not None:
            raise self.fault
        (pooled,) = self.module(pixels)
        if self.output is None or self.output.shape != pooled.shape:
            self.output = torch.empty_like(pooled)
        return (self.output.copy_(pooled + self.offset),)


class Timed(Fake):
    """Fake engine of any speed, with defects in the network of pooled features alone.

    Attributes:
        ms: time of a batch in milliseconds, where eager takes 100.
        shift: number added to the features.
        fault: error that computing features raises.
        started: precisions in which it was started.
    """

    ms: ClassVar[float] = 25.0
    shift: ClassVar[float] = 0.0
    fault: ClassVar[Exception | None] = None
    started: ClassVar[list[str]] = []

    def convert(self, network: Network) -> Any:
        converted = super().convert(network)
        return Altered(converted, self.shift, self.fault) if network.name == "features" else converted

    def start(self, converted: Any, precision: Any, threads: int) -> Runner:
        self.started.append(precision)
        return super().start(converted, precision, threads)


class First(Timed):
    """The engine that is measured first."""

    name = "first"
    started: ClassVar[list[str]] = []
    converted: ClassVar[list[str]] = []


class Second(Timed):
    """The engine that is measured after the first."""

    name = "second"
    started: ClassVar[list[str]] = []
    converted: ClassVar[list[str]] = []


class Seconds:
    """Clock that advances by the next of the given durations whenever features are computed in eager; the last one repeats."""

    def __init__(self, durations: Sequence[float]) -> None:
        self.durations, self.now, self.calls = list(durations), 0.0, 0

    def __call__(self, model: Model, images: ImageBatch, precision: Any) -> Any:
        self.now += self.durations[min(self.calls, len(self.durations) - 1)]
        self.calls += 1
        return eager_features(model, images, precision)


def timed(monkeypatch: pytest.MonkeyPatch, *durations: float) -> Seconds:
    """Let eager take these durations, in seconds per batch, where the engine is chosen."""
    seconds = Seconds(durations)
    monkeypatch.setattr(zoo.training.features.engine, "eager_features", seconds)
    monkeypatch.setattr(zoo.training.features.engine, "time", SimpleNamespace(perf_counter=lambda: seconds.now))
    return seconds


@pytest.fixture(autouse=True)
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Replace the real engines by fake ones, and return the names of the engines in the order in which `compile` measures them."""
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    assert "eager" in ENGINES
    for name in ("inductor", "onnxruntime", "openvino"):
        monkeypatch.delitem(ENGINES._definitions, name)
    monkeypatch.setattr(zoo.compilation.tuning, "_ORDER", ("first", "second"))
    for engine in (First, Second):
        monkeypatch.setitem(ENGINES._definitions, engine.name, engine)
        engine.started.clear()
        engine.converted.clear()
    timed(monkeypatch, 1.0)
    order: list[str] = []

    def milliseconds(model: Any, batch: ImageBatch) -> float:
        order.append(model.making.engine)
        return float(getattr(ENGINES[model.making.engine], "ms", 100.0))

    monkeypatch.setattr(zoo.compilation.tuning, "_milliseconds", milliseconds)
    return order


def pictures(number: int = 0) -> ImageBatch:
    pixels = torch.rand(_SIZE, 3, 32, 32, generator=torch.Generator().manual_seed(number))
    return ImageBatch(pixels, ((32, 32),) * _SIZE, ((32, 32),) * _SIZE)


def chosen(
    batches: int = _LONG, engines: tuple[str, ...] = ("first", "second"), precision: Any = "fp32", model: Model | None = None
) -> tuple[str, list[str]]:
    """Return the chosen engine and the messages."""
    said: list[str] = []
    return choose_engine(model or small_model("classification"), precision, pictures(), batches, engines, said.append), said


def off_by(part: float, precision: Any = "fp32") -> float:
    """Return what must be added to the features so that their relative error is `part`."""
    return part * float(np.abs(eager_features(small_model("classification"), pictures(), precision)).max())


# -- the choice --------------------------------------------------------------------------------------------------------


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


# -- in the cache ------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{_TRAINING}.cache.pick_batch_size", lambda *asked: _SIZE)


def cache_of(engines: tuple[str, ...] = ("first", "second"), **changes: Any) -> tuple[FeatureCache, list[str]]:
    """Return a cache of features of a model in training mode, and the list of its messages."""
    listening = Listening()
    return replace(FeatureCache(fresh().train(), "fp32", Decoding(), "raise", 0, listening, engines=engines), **changes), listening.lines


def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a test fail if an engine is chosen, or if any features are computed."""
    for name in ("choose_engine", "eager_features", "engine_features"):
        monkeypatch.setattr(zoo.training.features.cache, name, lambda *arguments, **options: pytest.fail("an engine is chosen or runs"))


def with_bad_image(data: Dataset, folder: Path, *places: int) -> Dataset:
    (folder / "bad.png").write_bytes(b"no image")
    records = list(data.records)
    for place in places:
        records[place] = replace(records[place], source=folder / "bad.png")
    return replace(data, records=tuple(records))


def eager_rows(data: Dataset) -> Tensor:
    return cache_of(engines=())[0].rows(data).rows.clone()


@pytest.mark.usefixtures("small_batches")
def test_a_chosen_engine_computes_all_features_and_is_part_of_the_name_of_the_file(
    tmp_path: Path, measured: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    timed(monkeypatch, 10.0)
    monkeypatch.setattr(First, "shift", 1e-6)
    cache, lines = cache_of()
    found = cache.rows(coloured(20))
    (path,) = (tmp_path / "cache" / "features").iterdir()
    assert (found.engine, path.name[32:]) == ("first", "-first.npy")
    assert lines[0].startswith("features are computed with the engine first (fp32); ")
    assert lines[1:] == [f"features of 20 images were saved to {path}"]
    assert cache.model.training
    (tmp_path / "cache" / "features").rename(tmp_path / "other")
    eager = eager_rows(coloured(20))
    assert (found.rows != eager).any(dim=1).all()
    torch.testing.assert_close(found.rows, eager, rtol=1e-5, atol=1e-5)
    assert cache_of(engines=())[0].rows(coloured(20)).engine == "eager"


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize(("count", "expected"), [(10, "eager"), (11, "first"), (12, "first")])
def test_little_data_is_computed_by_eager(tmp_path: Path, count: int, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last batch may be smaller: 11 images are 6 batches."""
    timed(monkeypatch, 10.0)
    cache, lines = cache_of()
    assert cache.rows(coloured(count)).engine == expected
    (path,) = (tmp_path / "cache" / "features").iterdir()
    assert path.name[32:] == f"-{expected}.npy"
    assert sum("computed with the engine first" in line for line in lines) == (expected != "eager")


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_cached_features_of_an_engine_are_found_without_measuring(
    tmp_path: Path, on_error: Any, measured: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    timed(monkeypatch, 10.0)
    monkeypatch.setattr(First, "shift", 1e-6)
    data = with_bad_image(coloured(20), tmp_path, 0, 1, 7) if on_error == "skip" else coloured(20)
    cache, lines = cache_of(on_error=on_error)
    found = cache.rows(data)
    assert sorted(found.faults) == ([0, 1, 7] if on_error == "skip" else [])
    measured.clear()
    unmeasured(monkeypatch)
    for _ in range(2):
        again = cache.rows(data)
        assert (again.engine, again.faults) == ("first", found.faults)
        torch.testing.assert_close(again.rows, found.rows, rtol=0, atol=0, equal_nan=True)
        assert lines[-1].startswith("features of 20 images were loaded from ")
        assert lines[-1].endswith("-first.npy")
    assert cache.rows(data, "first").engine == "first"
    assert not measured


@pytest.mark.usefixtures("small_batches")
def test_cached_features_of_eager_are_preferred_to_choosing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that began with eager's features is resumed with them."""
    eager = eager_rows(coloured(20))
    unmeasured(monkeypatch)
    found = cache_of()[0].rows(coloured(20))
    assert found.engine == "eager"
    torch.testing.assert_close(found.rows, eager, rtol=0, atol=0)


@pytest.mark.usefixtures("small_batches")
def test_cached_features_of_an_engine_that_may_not_be_used_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    timed(monkeypatch, 10.0)
    assert cache_of()[0].rows(coloured(20)).engine == "first"
    assert cache_of(engines=("second",))[0].rows(coloured(20)).engine == "eager"


@pytest.mark.usefixtures("small_batches")
def test_a_given_engine_computes_features_without_a_choice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the other processes of a job, which follow the first."""
    monkeypatch.setattr(Second, "shift", 1e-6)
    monkeypatch.setattr(zoo.training.features.cache, "choose_engine", lambda *arguments: pytest.fail("an engine is chosen"))
    eager = eager_rows(coloured(20))
    cache, lines = cache_of()
    found = cache.rows(coloured(20), "second")
    assert found.engine == "second"
    assert lines == [f"features of 20 images were saved to {next((tmp_path / 'cache' / 'features').glob('*-second.npy'))}"]
    assert (found.rows != eager).any(dim=1).all()
    torch.testing.assert_close(cache.rows(coloured(20), "eager").rows, eager, rtol=0, atol=0)
    with pytest.raises(UnknownNameError, match="gone"):
        cache.rows(coloured(20), "gone")


@pytest.mark.usefixtures("small_batches")
def test_damaged_features_of_an_engine_are_computed_by_it_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    timed(monkeypatch, 10.0)
    monkeypatch.setattr(First, "shift", 1e-6)
    cache, lines = cache_of()
    before = cache.rows(coloured(20)).rows.clone()
    (path,) = (tmp_path / "cache" / "features").iterdir()
    whole = path.read_bytes()
    path.write_bytes(whole[:200] + bytes([whole[200] ^ 1]) + whole[201:])
    lines.clear()
    monkeypatch.setattr(zoo.training.features.cache, "choose_engine", lambda *arguments: pytest.fail("an engine is chosen"))
    torch.testing.assert_close(cache.rows(coloured(20)).rows, before, rtol=0, atol=0)
    assert lines == [f"{path} is damaged; computing the features again", f"features of 20 images were saved to {path}"]
    assert path.read_bytes() == whole


@pytest.mark.usefixtures("small_batches")
def test_without_space_a_temporary_file_holds_the_features_of_an_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    timed(monkeypatch, 10.0)
    monkeypatch.setattr(First, "shift", 1e-6)
    monkeypatch.setattr(zoo.training.features.cache, "LIMIT_BYTES", 1000)
    cache, lines = cache_of()
    first, second = (cache.rows(coloured(20)) for _ in range(2))
    assert (first.engine, second.engine) == ("first", "first")
    torch.testing.assert_close(first.rows, second.rows, rtol=0, atol=0)
    assert sum("using a temporary file for this run" in line for line in lines) == 2
    assert not list((tmp_path / "cache" / "features").iterdir())


@pytest.mark.usefixtures("small_batches")
def test_an_engine_that_fails_leaves_the_features_to_eager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    timed(monkeypatch, 10.0)
    monkeypatch.setattr(First, "fault", MemoryError())
    cache, lines = cache_of()
    found = cache.rows(coloured(20))
    assert found.engine == "eager"
    assert lines[0] == "features are computed with eager; the engine first failed: MemoryError"
    assert [path.name[32:] for path in (tmp_path / "cache" / "features").iterdir()] == ["-eager.npy"]
    torch.testing.assert_close(found.rows, eager_rows(coloured(20)), rtol=0, atol=0)


@pytest.mark.usefixtures("small_batches")
def test_the_engine_is_chosen_on_the_first_batch_that_can_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    timed(monkeypatch, 10.0)
    sizes: list[int] = []

    def noted(model: Model, precision: Any, images: ImageBatch, *others: Any) -> str:
        sizes.append(len(images))
        return choose_engine(model, precision, images, *others)

    monkeypatch.setattr(zoo.training.features.cache, "choose_engine", noted)
    found = cache_of(on_error="skip")[0].rows(with_bad_image(coloured(20), tmp_path, 0, 1, 3))
    assert found.engine == "first"
    assert sizes == [1]
    assert found.rows.isnan().all(dim=1).nonzero().flatten().tolist() == [0, 1, 3]
    none = cache_of(on_error="skip")[0].rows(with_bad_image(coloured(4), tmp_path, 0, 1, 2, 3))
    assert (none.engine, sorted(none.faults), sizes) == ("eager", [0, 1, 2, 3], [1])
    for place in (0, 7):
        with pytest.raises(ImageError, match=r"bad\.png"):
            cache_of()[0].rows(with_bad_image(coloured(20), tmp_path, place))
    assert sizes == [1, _SIZE], "nothing is measured before the error of an image of the first batch"


def test_without_engines_no_image_is_read_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    data, read = coloured(4), list[str]()

    def source(key: str, pixels: Any) -> Any:
        def drawn() -> Any:
            read.append(key)
            return pixels

        return drawn

    drawn = replace(data, records=tuple(replace(record, source=source(record.key, record.source)) for record in data.records))
    cache_of(engines=())[0].rows(drawn)
    assert sorted(read) == sorted([record.key for record in data.records] * 2), "once for the key, and once for the features"
