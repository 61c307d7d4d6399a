"""Runs whose features an engine computes: second and resumed runs, and several processes, use the same engine and get equal weights."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import zoo.compilation.tuning
import zoo.training.features.cache
import zoo.training.features.engine
from tests.engines import KEEPING, Fake
from tests.forking import in_processes
from tests.listening import Listening
from tests.small_training import RECIPE, StopAt, coloured, fresh, same
from zoo.engines import ENGINES
from zoo.models.archive import load
from zoo.system.signals import Interrupted
from zoo.training.checkpoints import CHECKPOINT
from zoo.training.train import train

pytestmark = pytest.mark.usefixtures("one_thread")
PLAIN = replace(RECIPE, freeze="trunk", crop_scale=1.0, flip=0.0, epochs=3)


class Off(Fake):
    """Engine whose features differ from eager's in their last digits."""

    name = "off"
    offset = 1e-5


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def having(monkeypatch: pytest.MonkeyPatch, *engines: str) -> None:
    """Let these engines be installed and faster than eager; one is chosen even for little data and if its conversion is slow."""
    for name in ENGINES:
        if name not in ("eager", *engines):
            monkeypatch.delitem(ENGINES._definitions, name)
    if "off" in engines:
        monkeypatch.setitem(ENGINES._definitions, "off", Off)
    monkeypatch.setattr(zoo.compilation.tuning, "_ORDER", engines)
    monkeypatch.setattr(zoo.compilation.tuning, "_milliseconds", lambda model, batch: 100.0 if model.making.engine == "eager" else 25.0)
    monkeypatch.setattr(zoo.training.features.engine, "_PAYS", 0)
    monkeypatch.setattr(zoo.training.features.engine, "_TUNE_SECONDS", 3600.0)


def refuse(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Let a test fail if any of these functions is called by the cache of features."""

    def refused(*arguments: Any, **options: Any) -> None:
        pytest.fail(f"{' or '.join(names)} is called")

    for name in names:
        monkeypatch.setattr(zoo.training.features.cache, name, refused)


def engines_of(folder: Path) -> list[str]:
    """Return the engines of the features in a cache folder, sorted."""
    return sorted(path.stem.split("-")[1] for path in (folder / "features").iterdir())


def begun(out: Path) -> None:
    with pytest.raises(Interrupted, match="interrupted after 5 batches"):
        train(fresh(), coloured(14), coloured(8), PLAIN, out, progress=StopAt(5))


def ended(out: Path, resume: bool = False, progress: Listening | None = None) -> dict[str, Any]:
    run = train(fresh(99 if resume else 5), coloured(14), coloured(8), PLAIN, out, resume=resume, progress=progress)
    return load(run.folder).state_dict()


def test_a_run_names_the_engine_of_its_features_and_learns_as_without_them(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    every_epoch = train(fresh(), coloured(14), coloured(8), replace(PLAIN, feature_cache=False), tmp_path / "every epoch")
    eager = ended(tmp_path / "eager")
    assert engines_of(cache) == ["eager", "eager"]
    shutil.rmtree(cache)
    having(monkeypatch, "off")
    listening = Listening()
    fast = train(fresh(), coloured(14), coloured(8), PLAIN, tmp_path / "fast", progress=listening)
    assert engines_of(cache) == ["off", "off"]
    assert sum(line.startswith("features are computed with the engine off (fp32); ") for line in listening.lines) == 2
    assert not same(fast.model.state_dict(), eager)
    assert "turns" not in torch.load(fast.folder / CHECKPOINT, weights_only=True)
    for one, other in zip(fast.history, every_epoch.history, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], abs=1e-3)
        assert one["val"] == pytest.approx(other["val"], abs=1e-3, nan_ok=True)


def test_a_second_run_finds_the_features_and_gets_equal_weights(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    having(monkeypatch, "off")
    one = ended(tmp_path / "one")
    refuse(monkeypatch, "choose_engine", "eager_features", "engine_features")
    listening = Listening()
    assert same(ended(tmp_path / "two", progress=listening), one)
    loaded = [line for line in listening.lines if "were loaded from" in line]
    assert [line.endswith("-off.npy") for line in loaded] == [True, True]
    assert engines_of(cache) == ["off", "off"]


def cleared(cache: Path) -> None:
    shutil.rmtree(cache)


def without_features(cache: Path) -> None:
    shutil.rmtree(cache / "features")


def damaged(cache: Path) -> None:
    for path in (cache / "features").iterdir():
        path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize(
    ("engine", "change"),
    [
        *(("off", change) for change in (None, damaged, without_features, cleared)),
        pytest.param(*KEEPING[0].values, cleared, marks=[*KEEPING[0].marks, pytest.mark.slow]),
    ],
)
def test_a_resumed_run_gets_the_same_engine_and_weights(
    tmp_path: Path, cache: Path, engine: str, change: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    having(monkeypatch, engine)
    whole = ended(tmp_path / "whole")
    begun(tmp_path / "run")
    assert engines_of(cache) == [engine, engine]
    if change is None:
        refuse(monkeypatch, "choose_engine", "eager_features", "engine_features")
    else:
        change(cache)
    if change is damaged:
        refuse(monkeypatch, "choose_engine", "eager_features")
    assert same(ended(tmp_path / "run", resume=True), whole)
    assert engines_of(cache) == [engine, engine]
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == (tmp_path / "whole" / "metrics.jsonl").read_bytes()


def test_a_run_that_began_in_eager_goes_on_in_eager(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        having(patch)
        whole = ended(tmp_path / "whole")
        begun(tmp_path / "run")
    having(monkeypatch, "off")
    assert same(ended(tmp_path / "run", resume=True), whole)
    assert engines_of(cache) == ["eager", "eager"]


def test_a_checkpoint_of_an_earlier_version_is_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Checkpoints used to hold the engines of each batch."""
    having(monkeypatch, "off")
    whole = ended(tmp_path / "whole")
    begun(tmp_path / "run")
    state = torch.load(tmp_path / "run" / CHECKPOINT, weights_only=True)
    torch.save({**state, "turns": {"training": ((2, "off"),), "validation": ()}}, tmp_path / "run" / CHECKPOINT)
    assert same(ended(tmp_path / "run", resume=True), whole)


def test_a_run_whose_engine_is_gone_goes_on_in_eager(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its weights differ from those of an uninterrupted run by rounding."""
    with monkeypatch.context() as patch:
        having(patch, "off")
        whole = ended(tmp_path / "whole")
        begun(tmp_path / "run")
    having(monkeypatch)
    resumed = ended(tmp_path / "run", resume=True)
    assert engines_of(cache) == ["eager", "eager", "off", "off"]
    assert not same(resumed, whole)
    for name, value in whole.items():
        torch.testing.assert_close(resumed[name], value, rtol=1e-3, atol=1e-3)


def test_without_space_for_the_cache_a_resumed_run_gets_the_same_engine_and_weights(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    having(monkeypatch, "off")
    whole = ended(tmp_path / "whole")
    shutil.rmtree(cache)
    monkeypatch.setattr(zoo.training.features.cache, "LIMIT_BYTES", 1000)
    begun(tmp_path / "run")
    listening = Listening()
    assert same(ended(tmp_path / "run", resume=True, progress=listening), whole)
    assert sum("using a temporary file for this run" in line for line in listening.lines) == 2
    assert not list((cache / "features").iterdir())


def test_a_little_data_is_computed_in_eager(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With whatever engines are installed here."""
    monkeypatch.setattr(zoo.training.features.engine, "compile", lambda *arguments, **options: pytest.fail("engines are measured"))
    listening = Listening()
    train(fresh(), coloured(14), None, PLAIN, tmp_path / "run", progress=listening)
    assert engines_of(cache) == ["eager"]
    assert not any("computed by" in line for line in listening.lines)


def test_a_neighbours_head_stores_features_of_an_engine(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        having(patch)
        eager = train(fresh(classifier="knn"), coloured(14), coloured(8), PLAIN, tmp_path / "eager")
    shutil.rmtree(cache)
    having(monkeypatch, "off")
    fast = train(fresh(classifier="knn"), coloured(14), coloured(8), PLAIN, tmp_path / "fast")
    assert set(engines_of(cache)) == {"off"}
    one, other = eager.model.state_dict(), fast.model.state_dict()
    memory = next(name for name in one if name.endswith("memory"))
    assert not torch.equal(one[memory], other[memory])
    torch.testing.assert_close(one[memory], other[memory], rtol=1e-3, atol=1e-4)
    assert fast.scores is not None
    assert eager.scores is not None
    assert dict(fast.scores) == pytest.approx(dict(eager.scores), abs=1e-3, nan_ok=True)


PROGRAM = """
import json, os, sys
from pathlib import Path
import pytest, torch
import tests.unit.training.features.test_engine_runs as tests
from zoo.training.features.cache import FeatureCache

torch.set_num_threads(1)
out, rank, engines, apart = sys.argv[1], int(os.environ["RANK"]), *json.loads(sys.argv[2])
os.environ["ZOO_CACHE"] = out + "cache" + (str(rank) if apart else "")
tests.having(pytest.MonkeyPatch(), *engines[rank])
found, listening, before = [], tests.Listening(), FeatureCache.rows
def rows(*arguments):
    found.append(before(*arguments))
    return found[-1]
FeatureCache.rows = rows
recipe = tests.replace(tests.PLAIN, batch_size=2, epochs=1)
run = tests.train(tests.fresh(), tests.coloured(14), tests.coloured(8), recipe, out + "run", progress=listening)
weights = sum(float(value.double().sum()) for value in run.model.head.state_dict().values())
result = [[each.engine, float(each.rows.sum(dtype=torch.float64))] for each in found], weights
Path(out + str(rank)).write_text(json.dumps(result))
print(json.dumps([result, listening.lines]))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("apart", "engines", "expected"),
    [
        (False, [["off"], ["off"]], "off"),
        (True, [["off"], ["off"]], "off"),
        (True, [["off"], []], "eager"),
        (False, [[], ["off"]], "eager"),
    ],
)
def test_several_processes_share_the_engine(tmp_path: Path, apart: bool, engines: Any, expected: str) -> None:
    """They use only engines that all of them have. `apart`: each process has its own cache, as on several machines."""
    first, lines = in_processes(2, PROGRAM, f"{tmp_path}/", json.dumps([engines, apart]))
    assert json.loads((tmp_path / "1").read_text()) == first
    assert [engine for engine, _ in first[0]] == [expected] * 2
    assert sum(line.startswith("features are computed with the engine off (fp32); ") for line in lines) == (2 if expected == "off" else 0)
    folders = sorted(tmp_path.glob("cache*"))
    assert [path.name for path in folders] == (["cache0", "cache1"] if apart else ["cache"])
    assert [engines_of(path) for path in folders] == [[expected, expected]] * len(folders)
