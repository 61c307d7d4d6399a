"""Compiled kernels: cached, rebuilt if damaged, loaded only from a trusted folder, and optional."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch

import zoo
from tests.listening import Listening
from zoo.data.dataset import Sample
from zoo.kernels import library as native
from zoo.kernels.library import library
from zoo.tasks.classification.options import ClassificationRecipe

needs_compiler = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("g++") is None, reason="the kernels need Linux and a C++ compiler (g++)"
)


@pytest.fixture
def kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The cache folder of kernels, empty, with no library loaded."""
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    library.cache_clear()
    yield tmp_path / "cache" / "kernels"
    library.cache_clear()


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The folders in which something was compiled."""
    folders: list[Path] = []
    compile_source = native._compile

    def noted(folder: Path, source: str, words: list[str]) -> Path:
        folders.append(folder)
        return compile_source(folder, source, words)

    monkeypatch.setattr(native, "_compile", noted)
    return folders


def has_functions() -> bool:
    library.cache_clear()
    found = library("suppression")  # compiles four times as fast as the largest kernels
    return found is not None and hasattr(found, "zoo_suppress")


@needs_compiler
def test_a_kernel_is_made_once_and_again_where_it_is_damaged(kernels: Path, compiled: list[Path]) -> None:
    assert has_functions()
    (made,) = kernels.iterdir()
    assert (kernels.stat().st_mode & 0o777, made.suffix, len(compiled)) == (0o700, ".so", 1)
    assert has_functions()
    assert len(compiled) == 1
    whole = made.read_bytes()
    made.unlink()  # overwriting in place would change the loaded library
    made.write_bytes(whole[:1000])
    assert has_functions()
    assert len(compiled) == 2
    assert made.read_bytes() == whole


@needs_compiler
def test_another_source_is_another_kernel(kernels: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert has_functions()
    folder = tmp_path / "sources"
    folder.mkdir()
    (folder / "suppression.cpp").write_text('extern "C" int answer() { return 42; }')
    monkeypatch.setattr(native, "files", lambda package: folder)
    library.cache_clear()
    found = library("suppression")
    assert found is not None
    assert found.answer() == 42
    assert len(list(kernels.iterdir())) == 2


@needs_compiler
@pytest.mark.parametrize("mode", [0o777, 0o770])
def test_from_a_folder_that_others_write_to_nothing_is_loaded(kernels: Path, compiled: list[Path], mode: int) -> None:
    assert has_functions()
    (made,) = kernels.iterdir()
    kernels.chmod(mode)
    assert has_functions()
    assert len(compiled) == 2
    assert compiled[-1].parent != kernels
    assert list(kernels.iterdir()) == [made]


@needs_compiler
def test_nor_from_one_of_somebody_else(kernels: Path, compiled: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    assert has_functions()
    monkeypatch.setattr(os, "geteuid", lambda: kernels.stat().st_uid + 1)
    assert has_functions()
    assert compiled[-1].parent != kernels


@needs_compiler
@pytest.mark.parametrize("fault", ["no room", "no home"])
def test_without_a_cache_it_is_made_every_time(kernels: Path, compiled: list[Path], monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    if fault == "no room":
        kernels.parent.write_text("a file where the folder should be")
    else:
        monkeypatch.delenv("ZOO_CACHE")
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)

        def no_home() -> Path:
            raise RuntimeError("Could not determine home directory.")

        monkeypatch.setattr(Path, "home", no_home)
    assert has_functions()
    assert has_functions()
    assert len(compiled) == 2


def test_without_a_compiler_there_is_none(kernels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert library("suppression") is None


@needs_compiler
@pytest.mark.parametrize("script", ["exit 1", "true", 'for word; do :; done; echo none > "$word"', "sleep 60"])
def test_with_a_compiler_that_fails_there_is_none(kernels: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str) -> None:
    """It fails, writes nothing, writes an invalid library, or hangs; in the last case its child processes are ended, too."""
    broken = tmp_path / "bin" / "g++"
    broken.parent.mkdir()
    broken.write_text(f'#!/bin/sh\n[ "$2" = "" ] || {{ echo $$ >> {tmp_path}/started; {script}; }}\n')
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", str(broken.parent), prepend=os.pathsep)
    monkeypatch.setattr(native, "_SECONDS", 2)
    library.cache_clear()
    start = time.monotonic()
    assert library("suppression") is None
    assert time.monotonic() - start < 30
    assert list(kernels.glob("*")) == []
    started = {int(process) for process in (tmp_path / "started").read_text().split()}
    assert started
    deadline = time.monotonic() + 30
    while _alive(started):
        assert time.monotonic() < deadline, "a child process of the compiler still runs"
        time.sleep(0.01)


def _alive(groups: set[int]) -> list[psutil.Process]:
    return [each for each in psutil.process_iter(["status"]) if each.info["status"] != "zombie" and _group(each) in groups]


def _group(process: psutil.Process) -> int | None:
    try:
        return os.getpgid(process.pid)
    except ProcessLookupError:
        return None


@needs_compiler
def test_ctrl_c_does_not_reach_the_compiler() -> None:
    """The current training step ends normally; see `zoo.system.signals`."""
    session = native._output([sys.executable, "-c", "import os; print(os.getsid(0) == os.getpid() != os.getppid())"])
    assert session == b"True\n"
    with pytest.raises(subprocess.CalledProcessError, match="returned non-zero exit status 3"):
        native._output(["sh", "-c", "exit 3"])


@needs_compiler
@pytest.mark.parametrize("begun_by_kernels", [True, False])
def test_a_run_goes_on_by_what_it_began_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begun_by_kernels: bool) -> None:
    """Started without a compiler, a run stays with torch, bit-identical; if the compiler is gone later, it continues and reports this."""
    generator = np.random.default_rng(0)
    samples = [Sample(generator.integers(0, 256, (32, 32, 3), dtype=np.uint8), index % 2, str(index)) for index in range(8)]
    recipe = ClassificationRecipe(epochs=4, batch_size=4, precision="bf16")

    def without_compiler(absent: bool) -> None:
        monkeypatch.setattr("zoo.kernels.overrides.library", (lambda name: None) if absent else library)

    def trained(name: str, **settings: Any) -> tuple[list[Any], list[str]]:
        torch.manual_seed(0)
        model, heard = zoo.build("resnet20", "classification", num_classes=2), Listening()
        run = zoo.train(model, samples, recipe=recipe, out=tmp_path / name, device="cpu", progress=heard, **settings)
        return [entry["loss"] for entry in run.history], heard.lines

    class Stopped(Exception):
        pass

    class Stopping(Listening):
        """Ends the run after two epochs, like a killed process."""

        def say(self, text: str) -> None:
            super().say(text)
            if text.startswith("epoch 2/"):
                raise Stopped

    without_compiler(not begun_by_kernels)
    whole, _ = trained("whole")
    torch.manual_seed(0)
    model = zoo.build("resnet20", "classification", num_classes=2)
    with pytest.raises(Stopped):
        zoo.train(model, samples, recipe=recipe, out=tmp_path / "parts", device="cpu", progress=Stopping())
    without_compiler(begun_by_kernels)
    found, lines = trained("parts", resume=True)
    warnings = [text for text in lines if "g++" in text]
    if begun_by_kernels:
        assert found[:2] == whole[:2]
        assert found[2:] != whole[2:]
        assert found == pytest.approx(whole, rel=0.1)
        assert warnings == ["batch-norm kernels of this run can't be compiled here (they need g++): the last bits differ from now on"]
    else:
        assert (found, warnings) == (whole, [])
