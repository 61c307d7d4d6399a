"""Runs whose features an engine computes: they end bit for bit the same when they are continued, and in several processes."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import zoo.training.features.engine
from tests.engines import INSTALLED, Fake
from tests.listening import Listening
from tests.processes import in_processes
from tests.small_training import RECIPE, StopAt, coloured, fresh, same
from zoo.engines import ENGINES
from zoo.errors import InputError
from zoo.models.archive import load
from zoo.system.signals import Interrupted
from zoo.training.features.file import Turns
from zoo.training.folder import CHECKPOINT
from zoo.training.train import train

pytestmark = pytest.mark.usefixtures("one_thread")
PLAIN = replace(RECIPE, freeze="trunk", crop_scale=1.0, flip=0.0, epochs=3)


class Off(Fake):
    """An engine whose last bits can be told from eager's."""

    name = "off"
    offset = 1e-5


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def taking(monkeypatch: pytest.MonkeyPatch, *engines: str) -> None:
    """Let the engines be tried whatever it costs, and taken whatever their speed."""
    monkeypatch.setitem(ENGINES._definitions, "off", Off)
    monkeypatch.setattr("zoo.training.features.trunk.usable_engines", lambda model, precision: list(engines))
    monkeypatch.setattr(zoo.training.features.engine, "_PAYS", 0.0)
    monkeypatch.setattr(zoo.training.features.engine, "GAIN", 0.0)
    monkeypatch.setattr("zoo.training.features.cache.pick_batch_size", lambda *asked: 2)


def turns(run: Path) -> dict[str, Turns]:
    found: dict[str, Turns] = torch.load(run / CHECKPOINT, weights_only=True)["turns"]
    return found


def begun(out: Path, seed: int = 5) -> None:
    with pytest.raises(Interrupted, match="interrupted after 5 batches"):
        train(fresh(seed), coloured(14), coloured(8), PLAIN, out, progress=StopAt(5))


def ended(out: Path, resume: bool = False, progress: Listening | None = None) -> dict[str, Any]:
    run = train(fresh(99 if resume else 5), coloured(14), coloured(8), PLAIN, out, resume=resume, progress=progress)
    return load(run.folder).state_dict()


def test_a_run_says_and_notes_what_computes_its_features_and_learns_as_without_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    every_epoch = train(fresh(), coloured(14), coloured(8), replace(PLAIN, feature_cache=False), tmp_path / "every epoch")
    assert turns(every_epoch.folder) == {}
    eager = ended(tmp_path / "eager")
    assert turns(tmp_path / "eager") == {"training": (), "validation": ()}
    shutil.rmtree(tmp_path / "cache")
    taking(monkeypatch, "off")
    listening = Listening()
    fast = train(fresh(), coloured(14), coloured(8), PLAIN, tmp_path / "fast", progress=listening)
    assert turns(fast.folder) == {"training": ((2, "off"),), "validation": ((2, "off"),)}
    assert sum(line.startswith("features are computed by off, fp32: ") for line in listening.lines) == 2
    assert not same(fast.model.state_dict(), eager)
    for one, other in zip(fast.history, every_epoch.history, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], abs=1e-3)
        assert one["val"] == pytest.approx(other["val"], abs=1e-3, nan_ok=True)


@pytest.mark.parametrize(
    "engine", [pytest.param("off"), *[pytest.param(*each.values, marks=[*each.marks, pytest.mark.slow]) for each in INSTALLED]]
)
@pytest.mark.parametrize("gone", ["cache/features", "cache"])
def test_an_interrupted_run_ends_bit_for_bit_the_same(tmp_path: Path, engine: str, gone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        taking(patch, engine)
        whole = ended(tmp_path / "whole")
        begun(tmp_path / "run")
        assert turns(tmp_path / "run")["training"] == ((2, engine),)
    taking(monkeypatch)  # nothing new would be tried
    monkeypatch.setitem(ENGINES._definitions, "off", Off)
    shutil.rmtree(tmp_path / gone)
    assert same(ended(tmp_path / "run", resume=True), whole)
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == (tmp_path / "whole" / "metrics.jsonl").read_bytes()


@pytest.mark.parametrize("older", [False, True])
def test_a_run_that_began_in_eager_goes_on_in_eager(tmp_path: Path, older: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = ended(tmp_path / "whole")
    begun(tmp_path / "run")
    if older:  # begun by a version that had nothing but eager
        state = torch.load(tmp_path / "run" / CHECKPOINT, weights_only=True)
        del state["turns"]
        torch.save(state, tmp_path / "run" / CHECKPOINT)
    shutil.rmtree(tmp_path / "cache")
    taking(monkeypatch, "off")
    train(fresh(), coloured(14), coloured(8), PLAIN, tmp_path / "other")  # leaves features of the engine in the cache
    assert turns(tmp_path / "other")["training"] == ((2, "off"),)
    assert same(ended(tmp_path / "run", resume=True), whole)
    assert turns(tmp_path / "run") == {"training": (), "validation": ()}


def test_without_its_engine_a_run_goes_on_for_as_long_as_its_features_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taking(monkeypatch, "off")
    whole = ended(tmp_path / "whole")
    for name in ("one", "two"):
        begun(tmp_path / name)
    monkeypatch.delitem(ENGINES._definitions, "off")
    assert same(ended(tmp_path / "one", resume=True), whole)
    shutil.rmtree(tmp_path / "cache")
    with pytest.raises(InputError, match="the features that this run began with were computed by the engine off and are kept no longer"):
        ended(tmp_path / "two", resume=True)


def test_without_room_for_a_cache_a_run_ends_bit_for_bit_the_same_too(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoo.training.features.cache.LIMIT_BYTES", 1000)
    with monkeypatch.context() as patch:
        taking(patch, "off")
        whole = ended(tmp_path / "whole")
        begun(tmp_path / "run")
    monkeypatch.setitem(ENGINES._definitions, "off", Off)
    monkeypatch.setattr("zoo.training.features.cache.pick_batch_size", lambda *asked: 2)
    assert same(ended(tmp_path / "run", resume=True), whole)
    assert not list((cache / "features").iterdir())


def test_a_little_data_is_computed_in_eager(tmp_path: Path) -> None:
    """With the engines that are installed, as everybody has it."""
    listening = Listening()
    train(fresh(), coloured(14), None, PLAIN, tmp_path / "run", progress=listening)
    assert turns(tmp_path / "run") == {"training": ()}
    assert not any("features are" in line and "computed by" in line for line in listening.lines)


PROGRAM = """
import json, os, sys
from pathlib import Path
import pytest, torch
import tests.unit.training.features.test_engine_runs as tests
from zoo.training.folder import CHECKPOINT
from zoo.training.features.file import FeatureRows
import zoo.training.features.cache

torch.set_num_threads(1)
out, rank, engines, apart = sys.argv[1], int(os.environ["RANK"]), *json.loads(sys.argv[2])
os.environ["ZOO_CACHE"] = out + "cache" + (str(rank) if apart else "")
patch = pytest.MonkeyPatch()
tests.taking(patch, *engines[rank])
patch.setattr(zoo.training.features.engine, "usable_engines", lambda model, precision: engines[rank])
found, before = [], zoo.training.features.cache.FeatureCache.rows
def rows(*arguments):
    found.append(before(*arguments))
    return found[-1]
zoo.training.features.cache.FeatureCache.rows = rows
recipe = tests.replace(tests.PLAIN, batch_size=2, epochs=1)
tests.train(tests.fresh(), tests.coloured(14), tests.coloured(8), recipe, out + "run")
said = [[each.turns, float(each.rows.sum(dtype=torch.float64))] for each in found]
Path(out + str(rank)).write_text(json.dumps(said))
print(json.dumps(said))
"""


@pytest.mark.slow
@pytest.mark.parametrize("apart", [False, True])  # whether each has a cache of its own, as on several machines
@pytest.mark.parametrize(("engines", "expected"), [([["off"], ["off"]], [[2, "off"]]), ([["off"], []], []), ([[], ["off"]], [])])
def test_several_processes_learn_from_features_of_the_same_turns(tmp_path: Path, apart: bool, engines: Any, expected: Any) -> None:
    first = in_processes(2, PROGRAM, f"{tmp_path}/", json.dumps([engines, apart]))
    assert json.loads((tmp_path / "1").read_text()) == first
    assert [found[0] for found in first] == [expected] * 2
    assert sorted(path.name for path in tmp_path.glob("cache*")) == (["cache0", "cache1"] if apart else ["cache"])
