"""The tutorial, docs/tutorial.md: every block runs, and its first part goes from folders to answers on forty drawn photos of a product."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT, RUN, read_blocks, read_commands
from tests.docs.runner import run_page

TUTORIAL = ROOT / "docs" / "tutorial.md"


def first_part() -> list[str]:
    """Return the verbs of the commands that use the photos of the product, in order."""
    blocks = [block for block in read_blocks(TUTORIAL) if block.language in RUN and "product" in block.needs]
    return [command.words[1] for block in blocks for command in read_commands(block.text)]


@pytest.mark.slow
def test_the_tutorial_goes_from_folders_to_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert first_part() == ["data", "data", "train", "eval", "predict", "runs"]
    place = tmp_path / "place"
    place.mkdir()
    monkeypatch.chdir(place)
    lacking = run_page(TUTORIAL, place)
    run = place / "runs" / "product"
    assert (run / "report.html").is_file()
    history = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    right = max(entry["val"]["top1"] for entry in history) * 10
    answers = [json.loads(line) for line in (place / "answers" / "predictions.jsonl").read_text().splitlines()]
    assert len(answers) == 6
    right += sum(Path(answer["key"]).name.startswith(answer["name"]) for answer in answers)
    assert right >= 13, "of sixteen photos; guessing would reach this in one run of a hundred"
    assert all((place / "answers" / answer["drawn"]).is_file() for answer in answers)
    if lacking:
        pytest.skip(" / ".join(lacking))
