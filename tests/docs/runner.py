"""Runs the code blocks of a page: Python in this process, commands of the zoo in forked processes."""

from __future__ import annotations

import doctest
from pathlib import Path
from typing import Any

from tests.docs.blocks import ROOT, RUN, Block, matches, read_blocks, read_commands
from tests.docs.folders import provide
from tests.forking import Job, run_job

_REAL = ROOT.parent / "shared" / "data"
_MOST = 4000  # characters of a command's output in a message


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


def run_console(block: Block, page: Path, folder: Path) -> None:
    """Run the commands of a block, and compare exit statuses and the output that the page shows."""
    for command in read_commands(block.text):
        where = f"{page.name} line {block.line}: {' '.join(command.words)}"
        assert command.words[0] == "zoo", f"{where}: only zoo's commands can be run; explain it with <!-- not run: … -->"
        done = run_job(Job(command.words[1:], folder=str(folder), together=True), seconds=600)
        printed = done.stdout
        assert done.status == command.status, f"{where} ended with {done.status}:\n{printed[-_MOST:]}"
        shown = "\n".join(command.shown)
        assert matches(command.shown, printed, block.vary), f"{where}\n--- shown\n{shown}\n--- printed\n{printed[:_MOST]}"


def run_page(page: Path, folder: Path) -> list[str]:
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
            run_console(block, page, folder)
    return lacking
