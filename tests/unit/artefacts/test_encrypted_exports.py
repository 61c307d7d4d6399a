"""Encrypted exports of all formats answer as the unencrypted ones, and encrypted models are compiled without a cache."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import zoo
from tests.engines import Fake, fake, small_joint, small_model
from tests.unit.artefacts.encrypted import write_identity
from zoo.compilation.compile import FORMATS
from zoo.engines import ENGINES
from zoo.errors import InputError
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


def answers(model: Model) -> list[dict[str, Any]]:
    generator = np.random.default_rng(1)
    pictures = [generator.integers(0, 255, (height, width, 3), np.uint8) for height, width in ((64, 64), (60, 80))]
    return [each.to_dict() for each in zoo.predict(model, pictures)]


@pytest.mark.slow
@pytest.mark.parametrize("format", FORMATS)
def test_an_encrypted_export_answers_as_the_unencrypted_one(tmp_path: Path, key: Path, format: str) -> None:
    if (missing := ENGINES[FORMATS[format]].missing()) is not None:
        pytest.skip(missing)
    folder = tmp_path / "x"
    zoo.export(small_model("classification"), folder, format, precision="fp32")
    wanted = answers(zoo.load(folder))
    model = encrypted(folder, key)
    assert model.encrypted
    assert answers(model) == wanted
    with pytest.raises(InputError, match="an encrypted model can't be saved or exported"):
        zoo.save(model, tmp_path / "y")


def test_a_graph_that_was_changed_before_encryption_is_refused(tmp_path: Path, key: Path) -> None:
    folder = zoo.save(zoo.compile(small_model("classification"), "eager", "bf16"), tmp_path / "x")
    wanted = answers(zoo.load(folder))
    graph = next(folder.glob("*.pt2"))
    content = graph.read_bytes()
    shutil.copytree(folder, tmp_path / "y")
    assert answers(encrypted(tmp_path / "y", key)) == wanted
    shutil.copytree(folder, tmp_path / "z")
    (tmp_path / "z" / graph.name).write_bytes(content[:-1] + b"x")
    with pytest.raises(InputError, match=rf"z\.age/{graph.name} is damaged, or isn't the file that was exported"):
        answers(encrypted(tmp_path / "z", key))
    (folder / graph.name).unlink()
    with pytest.raises(InputError, match=rf"x\.age/{graph.name} can't be read \(KeyError"):
        answers(encrypted(folder, key))


def test_an_engine_that_only_reads_files_is_named(tmp_path: Path, key: Path, fake: type[Fake]) -> None:
    folder = zoo.save(zoo.compile(small_model("classification"), "fake", "fp32"), tmp_path / "x")
    with pytest.raises(InputError, match="the engine fake can't read the graphs of an encrypted model; engines that need no files are"):
        answers(encrypted(folder, key))


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
    said: list[str] = []
    fake.in_memory = True
    model = encrypted(zoo.save(small_model("classification"), tmp_path / "x"), key)
    zoo.compile(model, "auto", "fp32", say=said.append)
    assert any("engine fake, fp32" in line for line in said)
    assert not any("inductor" in line for line in said)
