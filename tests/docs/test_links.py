"""Relative links and anchors of the pages that Sphinx doesn't build: README.md, CONTRIBUTING.md and CHANGELOG.md.

`make docs` checks the pages in docs/.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from tests.docs.blocks import ROOT

_PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")


def targets(text: str) -> list[str]:
    """Return the targets of links and images."""
    found = []
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        for child in token.children or []:
            target = child.attrGet("href") or child.attrGet("src")
            found += [str(target)] if target else []
    return found


def anchors(text: str) -> set[str]:
    """Return the anchors of the headings, as GitHub and MyST make them."""
    tokens = MarkdownIt("commonmark").parse(text)
    titles = [tokens[index + 1].content for index, token in enumerate(tokens) if token.type == "heading_open"]
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def dead_links(text: str, folder: Path) -> list[str]:
    """Return the relative links that lead nowhere."""
    dead = []
    for target in targets(text):
        if target.startswith(("https://", "http://", "mailto:")):
            continue
        path, _, anchor = target.partition("#")
        file = folder / path
        if (path and not file.exists()) or (anchor and anchor not in anchors(file.read_text(encoding="utf-8") if path else text)):
            dead.append(target)
    return dead


@pytest.mark.parametrize("name", _PAGES)
def test_relative_links_have_targets(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert targets(text), "no links were found"
    assert dead_links(text, ROOT) == []


def test_dead_links_are_found(tmp_path: Path) -> None:
    (tmp_path / "there.md").write_text("# One heading: `code`, and more\n")
    text = "# Here\n[a](there.md) [b](there.md#one-heading-code-and-more) [c](#here) [d](https://example.org)\n"
    assert dead_links(text, tmp_path) == []
    text += "[e](gone.md) [f](there.md#gone) [g](#gone) ![h](gone.png)\n"
    assert dead_links(text, tmp_path) == ["gone.md", "there.md#gone", "#gone", "gone.png"]
