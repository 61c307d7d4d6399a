"""Encrypted models are compiled without a cache, and encrypted exports are read from memory.

That they answer as the unencrypted ones is shown in tests/contract/test_engines.py.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

import zoo
from tests.engines import Fake, fake, small_joint, small_model
from tests.unit.artefacts.encrypted import write_identity
from zoo.compilation.source import Source
from zoo.engines import ENGINES
from zoo.errors import InputError
from zoo.models.compiled import Compiled
from zoo.models.model import Model
from zoo.system.cache import cache_folder

__all__ = ["fake"]
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def key(tmp_path: Path) -> Path:
    (tmp_path / "key.pub").write_text(write_identity(tmp_path / "key.txt"))
    return tmp_path / "key.txt"


def encrypted(folder: Path, key: Path) -> Model:
    """Encrypt the folder of a model, delete it, and load the encrypted file."""
    file = zoo.encrypt(folder, recipients=key.with_suffix(".pub")).path
    shutil.rmtree(folder)
    return zoo.load(file, identity=key)


def ask(model: Model) -> None:
    assert model.encrypted
    model(torch.zeros(1, 3, 32, 32))


def test_an_engine_that_only_reads_files_is_named(tmp_path: Path, key: Path, fake: type[Fake]) -> None:
    folder = zoo.save(zoo.compile(small_model("classification"), "fake", "fp32"), tmp_path / "x")
    for name in ("changed", "removed"):
        shutil.copytree(folder, tmp_path / name)
    with pytest.raises(InputError, match="the engine fake can't read the graphs of an encrypted model; engines that need no files are"):
        ask(encrypted(folder, key))
    graph = "pictures.fake"
    with (tmp_path / "changed" / graph).open("ab") as file:
        file.write(b"x")
    with pytest.raises(InputError, match=rf"changed\.age/{graph} is damaged, or isn't the file that was exported"):
        ask(encrypted(tmp_path / "changed", key))
    (tmp_path / "removed" / graph).unlink()
    with pytest.raises(InputError, match=rf"removed\.age/{graph} can't be read \(KeyError"):
        ask(encrypted(tmp_path / "removed", key))


def test_a_compiled_model_is_as_secret_as_its_original(
    tmp_path: Path, key: Path, fake: type[Fake], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    fake.in_memory = True
    model = encrypted(zoo.save(small_joint("species", "parts"), tmp_path / "x"), key)
    for _ in range(2):
        made = zoo.compile(model, "fake", "fp32")
        assert made.encrypted
        assert made.view("species").encrypted
    assert fake.converted.count("pictures") == 2, "the second model was converted again, since nothing is cached"
    assert not cache_folder("networks").exists()
    with pytest.raises(InputError, match="an encrypted model can't be saved or exported"):
        zoo.save(made, tmp_path / "y")
    for part in (model.view("parts"), zoo.split(model, "parts")):
        assert part.encrypted
        with pytest.raises(InputError, match="an encrypted model can't be saved or exported"):
            zoo.save(part, tmp_path / "y")


def test_auto_tries_no_engine_that_needs_files(tmp_path: Path, key: Path, fake: type[Fake], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("zoo.compilation.tuning.candidates", lambda *_: [("inductor", "fp32"), ("fake", "fp32")])
    tried: list[tuple[str, str]] = []

    def race(source: Source, candidates: list[tuple[str, str]], *_: object) -> tuple[Compiled, dict[str, float]]:
        tried.extend(candidates)
        return source.compiled(ENGINES["eager"](), "fp32"), {}

    monkeypatch.setattr("zoo.compilation.tuning._race", race)
    folder = zoo.save(small_model("classification"), tmp_path / "x")
    zoo.compile(zoo.load(folder), "auto", "fp32")
    assert tried == [("inductor", "fp32"), ("fake", "fp32")]
    tried.clear()
    fake.in_memory = True
    said: list[str] = []
    assert zoo.compile(encrypted(folder, key), "auto", "fp32", say=said.append).encrypted
    assert tried == [("fake", "fp32")]
    assert said[0] == "engine inductor: not tried, because it writes files and the model is encrypted"
