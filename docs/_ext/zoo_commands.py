"""The directive `zoo-commands`: the help page of every command of the command line, as printed by the command itself."""

from __future__ import annotations

import contextlib
import io
import os
import re
from collections.abc import Iterator

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from zoo.cli.main import main
from zoo.task.contract import list_tasks

_WIDTH = 80  # columns of a help page
_PER_TASK = ("train", "eval")  # commands whose flags depend on --task


def help_page(words: list[str]) -> str:
    """Return what a command prints for --help, in plain text of a fixed width."""
    words = [*words, "--help"]
    printed = io.StringIO()
    before = dict(os.environ)
    os.environ |= {"COLUMNS": str(_WIDTH), "NO_COLOR": "1", "TERM": "dumb"}
    try:
        with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
            main(words)
    finally:
        os.environ.clear()
        os.environ.update(before)
    page = printed.getvalue().rstrip()
    if "usage:" not in page or "\x1b" in page:
        raise RuntimeError(f"zoo {' '.join(words)} printed no plain help page: {page[:200]!r}")
    return page


def _listed(page: str) -> list[str]:
    """Return the commands that a help page lists."""
    found: list[str] = re.findall(r"^  (\w+)  ", page.partition("\ncommands:\n")[2], re.MULTILINE)
    return found


def _panels(page: str) -> list[str]:
    """Return the boxes of a help page."""
    return re.findall(r"^╭─.*?^╰─+╯$", page, re.MULTILINE | re.DOTALL)


def _words_of(panel: str) -> list[str]:
    """Return a box's words, which don't depend on the width of its columns."""
    return re.sub(r"[─-╿]", " ", panel).split()


def other_panels(page: str, known: str) -> str:
    """Return the boxes of a help page whose words differ from those of every box of another page."""
    seen = [_words_of(panel) for panel in _panels(known)]
    return "\n".join(panel for panel in _panels(page) if _words_of(panel) not in seen)


def sections() -> Iterator[tuple[list[str], str, str]]:
    """Yield the words of each command, a sentence that introduces its help page ("" for none), and the page."""
    names = _listed(help_page([]))
    if not names:
        raise RuntimeError("zoo --help lists no commands")
    for name in names:
        page = help_page([name])
        yield [name], "", page
        for each in _listed(page):
            yield [name, each], "", help_page([name, each])
        if name in _PER_TASK:
            first, *others = list_tasks()
            for task in others:
                sentence = f"Only the groups of flags that differ from those of {first} are listed."
                yield [name, "--task", task], sentence, other_panels(help_page([name, "--task", task]), page)


class ZooCommands(SphinxDirective):
    """A section for each command, with its help page as a literal block."""

    def run(self) -> list[nodes.Node]:
        """Return the sections."""
        found: list[nodes.Node] = []
        for words, sentence, page in sections():
            title = " ".join(["zoo", *words])
            label = nodes.make_id(title)
            section = nodes.section("", nodes.title("", "", nodes.literal(text=title)), ids=[label], names=[label])
            self.state.document.note_explicit_target(section)
            if sentence:
                section += nodes.paragraph(text=sentence)
            block = nodes.literal_block(page, page)
            block["language"] = "none"
            section += block
            found.append(section)
        return found


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("zoo-commands", ZooCommands)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
