"""The README's tutorial: every command of "Your own pictures in five minutes", on forty drawn photos of a product.

Training uses half the image size, to be four times as fast; no other flag is changed.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.products import write_products

ROOT = Path(__file__).resolve().parents[2]


def commands() -> list[list[str]]:
    """Return the zoo's commands of the first part of the tutorial, in order."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    part = text[text.index("## Your own pictures in five minutes") : text.index("**Boxes.**")]
    return [shlex.split(line) for line in re.findall(r"^\$ zoo (.*)$", part, re.MULTILINE)]


@pytest.mark.slow
def test_the_tutorial_goes_from_folders_to_answers(tmp_path: Path) -> None:
    write_products(tmp_path / "product")
    new = write_products(tmp_path / "by side", 3, first=100)
    (tmp_path / "new").mkdir()
    for photo in sorted(new.glob("*/*.jpg")):
        photo.rename(tmp_path / "new" / f"{photo.parent.name}-{photo.name}")
    verbs = []
    for words in commands():
        if words[0] == "train":
            words += ["--image-size", "112"]
        path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        completed = subprocess.run(
            [sys.executable, "-m", "zoo", *words], cwd=tmp_path, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True
        )
        assert completed.returncode == 0, completed.stderr
        verbs.append(words[0])
    assert verbs == ["data", "data", "train", "eval", "predict", "runs"]
    run = tmp_path / "runs" / "product"
    assert (run / "report.html").is_file()
    history = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    right = max(entry["val"]["top1"] for entry in history) * 10
    answers = [json.loads(line) for line in (tmp_path / "answers" / "predictions.jsonl").read_text().splitlines()]
    assert len(answers) == 6
    right += sum(Path(answer["key"]).name.startswith(answer["name"]) for answer in answers)
    assert right >= 13, "of sixteen photos; guessing would reach this in one run of a hundred"
    assert all((tmp_path / "answers" / answer["drawn"]).is_file() for answer in answers)
