"""Every Python and console block of README.md, CONTRIBUTING.md and docs/ runs and prints what the page shows, or says why it can't run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.docs.blocks import ROOT, RUN, pages, read_blocks
from tests.docs.runner import run_page

_TUTORIAL = ROOT / "docs" / "tutorial.md"  # tests/end_to_end/test_tutorial.py runs it


def pages_to_run() -> list[Any]:
    """Return the pages that have blocks to run."""
    found = []
    for page in pages():
        run = any(block.language in RUN and not block.not_run for block in read_blocks(page))
        if run and page != _TUTORIAL:
            found.append(pytest.param(page, id=page.relative_to(ROOT).as_posix(), marks=pytest.mark.slow))
    return found


@pytest.mark.parametrize("page", pages_to_run())
def test_the_code_blocks_of_a_page_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lacking = run_page(page, tmp_path)
    if lacking:
        pytest.skip(" / ".join(lacking))


def test_the_pages_with_code_are_found() -> None:
    names = {param.id for param in pages_to_run()}
    expected = {
        "README.md",
        "docs/data.md",
        "docs/training.md",
        "docs/evaluation.md",
        "docs/faces.md",
        "docs/engines.md",
        "docs/weights.md",
    }
    assert expected <= names
