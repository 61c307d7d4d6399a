"""Cache of features of several engines: each engine has its own files, and an engine is chosen only if none of them exists."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import zoo.training.features.cache
from tests.listening import Listening
from tests.small_training import coloured, fresh
from tests.unit.training.features.timed_engines import SIZE, First, Second, timed
from zoo.data.dataset import Dataset
from zoo.errors import ImageError, UnknownNameError
from zoo.images.decoding import Decoding
from zoo.images.preprocess import ImageBatch
from zoo.models.model import Model
from zoo.training.features.cache import FeatureCache
from zoo.training.features.engine import choose_engine

pytestmark = pytest.mark.usefixtures("one_thread", "measured")


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoo.training.features.cache.pick_batch_size", lambda *asked: SIZE)


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
    assert sizes == [1, SIZE], "nothing is measured before the error of an image of the first batch"


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
