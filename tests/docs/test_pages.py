"""The pages are complete and keep their form."""

from __future__ import annotations

import re

import zoo
from tests.docs.blocks import ROOT
from zoo.backbones import BACKBONES

_REFERENCE = ROOT / "docs" / "reference"


def test_the_reference_has_every_public_name() -> None:
    text = (_REFERENCE / "api.rst").read_text(encoding="utf-8")
    documented = set(re.findall(r"^\.\. (?:auto|py:)\w+:: zoo\.(\w+)\b(?!\.)", text, re.MULTILINE))
    assert documented == set(zoo.__all__)


def test_the_readme_stays_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


def test_a_change_is_one_line() -> None:
    lines = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").splitlines()
    changes = [line for line in lines if line and not line.startswith(("#", "The format is", "[Semantic"))]
    assert len(changes) > 100
    assert [line for line in changes if not line.startswith("- ") or len(line) > 120] == []


def test_the_number_of_backbones_is_right() -> None:
    for page in ("README.md", "docs/index.md", "docs/weights.md"):
        found = re.search(r"\b(\d\d+) (?:backbones|names)\b", (ROOT / page).read_text(encoding="utf-8"))
        assert found, page
        assert int(found[1]) == len({*BACKBONES} - {"resnet8"}), page  # which tests/engines.py registers


def test_the_pictures_are_small() -> None:
    for name in ("results.png", "page.png"):
        assert 0 < (ROOT / "docs" / "_static" / name).stat().st_size < 150_000
