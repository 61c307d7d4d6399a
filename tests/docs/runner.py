"""Runs the code blocks of a page: Python in this process, commands of the zoo in forked processes."""

from __future__ import annotations

import doctest
import json
import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.docs.blocks import ROOT, RUN, Block, matches, read_blocks, read_commands
from tests.docs.folders import provide

_REAL = ROOT.parent / "shared" / "data"
_MOST = 4000  # characters of a command's output in a message


class Zoo:
    """The command line in forked processes; see `tests.docs.server`."""

    def __init__(self, scratch: Path) -> None:
        """Start the server.

        Args:
            scratch: folder for the output of commands.
        """
        self._output = scratch / "output.txt"
        environment = {**os.environ, "COLUMNS": "80", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
        environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        command = [sys.executable, "-m", "tests.docs.server"]
        self._server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)

    def __call__(self, words: tuple[str, ...], folder: Path) -> tuple[int, str]:
        """Run a command in a folder; return its exit status and its output, both streams together.

        Raises:
            RuntimeError: the server has ended.
        """
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        try:
            self._server.stdin.write(json.dumps({"words": words, "folder": str(folder), "output": str(self._output)}) + "\n")
            self._server.stdin.flush()
            status = self._server.stdout.readline()
        except BrokenPipeError:
            status = ""
        if not status:
            raise RuntimeError("the server of commands has ended; its error stands above")
        return int(status), self._output.read_text(encoding="utf-8")

    def __enter__(self) -> Self:
        """Return the command line."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """End the server."""
        self._server.communicate()


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
        where = f"{page.name} line {block.line}: {' '.join(command.words)}"
        assert command.words[0] == "zoo", f"{where}: only zoo's commands can be run; explain it with <!-- not run: … -->"
        status, printed = zoo(command.words[1:], folder)
        assert status == command.status, f"{where} ended with {status}:\n{printed[-_MOST:]}"
        shown = "\n".join(command.shown)
        assert matches(command.shown, printed, block.vary), f"{where}\n--- shown\n{shown}\n--- printed\n{printed[:_MOST]}"


def run_page(page: Path, folder: Path, zoo: Zoo) -> list[str]:
    """Run the blocks of a page in order, in one folder, which is the current one, and in one namespace.

    Returns:
        The blocks that were not run because they need something that can't be provided, one line each.
    """
    namespace: dict[str, Any] = {"__name__": "__main__"}
    lacking = []
    for block in read_blocks(page):
        if block.language not in RUN or block.not_run:
            continue
        reasons = list(filter(None, (provide(name, folder, _REAL) for name in block.needs)))
        if reasons:
            lacking.append(f"{page.name} line {block.line}: {'; '.join(reasons)}")
        elif block.language == "python":
            run_python(block, page, namespace)
        else:
            run_console(block, page, folder, zoo)
    return lacking
