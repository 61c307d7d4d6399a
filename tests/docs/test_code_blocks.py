"""Every Python and console block of README.md, CONTRIBUTING.md and docs/ runs and prints what the page shows, or says why it can't run."""

from __future__ import annotations

import doctest
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.docs.blocks import ROOT, RUN, Block, matches, pages, read_blocks, read_commands
from tests.docs.folders import put

_REAL = ROOT.parent / "shared" / "data"
_MOST = 4000  # characters of a command's output in a message
_TUTORIAL = ROOT / "docs" / "tutorial.md"  # tests/end_to_end/test_tutorial.py runs it


class Zoo:
    """The command line in forked processes; see `tests.docs.server`."""

    def __init__(self, scratch: Path) -> None:
        """Start the server."""
        self._output = scratch / "output.txt"
        environment = {**os.environ, "COLUMNS": "80", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
        environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        command = [sys.executable, "-m", "tests.docs.server"]
        self._server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)

    def __call__(self, words: tuple[str, ...], folder: Path) -> tuple[int, str]:
        """Run a command in a folder; return its exit status and its output, both streams together."""
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps({"words": words, "folder": str(folder), "output": str(self._output)}) + "\n")
        self._server.stdin.flush()
        return int(self._server.stdout.readline()), self._output.read_text(encoding="utf-8")

    def close(self) -> None:
        """End the server."""
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.close()
        assert self._server.wait() == 0
        self._server.stdout.close()


@pytest.fixture(scope="session")
def zoo_command(tmp_path_factory: pytest.TempPathFactory, own_cache: None) -> Iterator[Zoo]:
    zoo = Zoo(tmp_path_factory.mktemp("commands"))
    yield zoo
    zoo.close()


def run_python(block: Block, page: Path, namespace: dict[str, Any]) -> None:
    """Run a block; one with prompts is a doctest."""
    if block.text.startswith(">>> "):
        test = doctest.DocTestParser().get_doctest(block.text, namespace, page.name, str(page), block.line - 1)
        report: list[str] = []
        runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
        runner.run(test, out=report.append, clear_globs=False)
        assert not report, "".join(report)
        namespace.update(test.globs)
        return
    exec(compile("\n" * (block.line - 1) + block.text, page, "exec"), namespace)


def run_console(block: Block, page: Path, folder: Path, zoo: Zoo) -> None:
    """Run the commands of a block, and compare exit statuses and the output that the page shows."""
    for command in read_commands(block.text):
        said = f"{page.name} line {block.line}: {' '.join(command.words)}"
        assert command.words[0] == "zoo", f"{said}: only zoo's commands can be run; explain it with <!-- not run: … -->"
        status, printed = zoo(command.words[1:], folder)
        assert status == command.status, f"{said} ended with {status}:\n{printed[-_MOST:]}"
        shown = "\n".join(command.shown)
        assert matches(command.shown, printed, block.vary), f"{said}\n--- shown\n{shown}\n--- printed\n{printed[:_MOST]}"


def run_page(page: Path, folder: Path, zoo: Zoo) -> None:
    """Run the blocks of a page in order, in one folder and one namespace; skip at the end if some lacked data."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    lacking = []
    for block in read_blocks(page):
        if block.language not in RUN or block.not_run:
            continue
        reasons = list(filter(None, (put(name, folder, _REAL) for name in block.needs)))
        if block.needs and importlib.util.find_spec("face_recognition_models") is None:
            reasons.append("the extra [faces] is not installed")
        if reasons:
            lacking.append(f"line {block.line}: {'; '.join(reasons)}")
        elif block.language == "python":
            run_python(block, page, namespace)
        else:
            run_console(block, page, folder, zoo)
    if lacking:
        pytest.skip(f"{page.name}: {' / '.join(lacking)}")


def _tested() -> list[Any]:
    """Return the pages that have blocks to run."""
    found = []
    for page in pages():
        run = any(block.language in RUN and not block.not_run for block in read_blocks(page))
        if run and page != _TUTORIAL:
            found.append(pytest.param(page, id=page.relative_to(ROOT).as_posix(), marks=pytest.mark.slow))
    return found


@pytest.mark.parametrize("page", _tested())
def test_the_code_blocks_of_a_page_run(page: Path, tmp_path: Path, zoo_command: Zoo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run_page(page, tmp_path, zoo_command)
