"""Code blocks of a Markdown page, and the comments that say how to test them.

A comment directly before a block is one of these; anything else is an error, so that a typo can't disable a test:

    <!-- not run: why -->            the block isn't run
    <!-- needs: people portraits --> folders that the block reads; see `tests.docs.folders.provide`
    <!-- figures vary -->            decimal fractions and seconds in the output may differ
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt

ROOT = Path(__file__).resolve().parents[2]
RUN = ("python", "console")  # languages of blocks that are run
_COMMENT = re.compile(r"<!--\s*(.*?)\s*-->", re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced code block.

    Attributes:
        language: "python", "console" or any other.
        text: content of the block.
        line: number of its first line of text in the page.
        not_run: reason why it isn't run; "" if it is run.
        needs: names of the folders that it reads.
        vary: whether decimal fractions in the output may differ.
    """

    language: str
    text: str
    line: int
    not_run: str = ""
    needs: tuple[str, ...] = ()
    vary: bool = False


@dataclass(frozen=True)
class Command:
    """A command of a console block.

    Attributes:
        words: program and arguments.
        shown: lines of output that the page shows.
        status: expected exit status.
    """

    words: tuple[str, ...]
    shown: tuple[str, ...]
    status: int = 0


def pages() -> list[Path]:
    """Return the Markdown pages whose blocks are tested."""
    site = sorted(page for page in (ROOT / "docs").rglob("*.md") if not {"_build", "examples"} & set(page.relative_to(ROOT).parts))
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *site]


def read_blocks(page: Path) -> list[Block]:
    """Return the code blocks of a page in their order.

    Raises:
        ValueError: a comment before a block is unknown, or gives no reason.
    """
    tokens = MarkdownIt("commonmark").parse(page.read_text(encoding="utf-8"))
    blocks, comments = [], ""
    for token in tokens:
        if token.type == "fence":
            assert token.map is not None
            line = token.map[0] + 2
            notes = _notes(comments, f"{page.name} line {line}") if token.info in RUN else {}
            blocks.append(Block(token.info, token.content, line, **notes))
        comments = comments + token.content if token.type == "html_block" else ""  # each comment is a token
    return blocks


def _notes(comments: str, where: str) -> dict[str, Any]:
    """Parse the comments before a block into attributes of `Block`."""
    notes: dict[str, Any] = {}
    for comment in _COMMENT.findall(comments):
        kind, _, value = (part.strip() for part in comment.partition(":"))
        if kind == "not run" and value:
            notes["not_run"] = value
        elif kind == "needs" and value:
            notes["needs"] = tuple(value.split())
        elif comment == "figures vary":
            notes["vary"] = True
        else:
            raise ValueError(f"{where}: unknown comment {comment!r} before a code block")
    return notes


def read_commands(text: str) -> list[Command]:
    """Return the commands of a console block: lines that start with "$ ", and continuation lines after a backslash.

    Raises:
        ValueError: output stands before the first command.
    """
    commands: list[Command] = []
    for line in text.replace("\\\n", " ").splitlines():
        if line.startswith("$ "):
            commands.append(Command(tuple(shlex.split(line.removeprefix("$ "), comments=True)), ()))
            continue
        if not commands:
            raise ValueError(f"output before the first command: {line!r}")
        last = commands.pop()
        status = re.fullmatch(r"\[exit status (\d+)\]", line)
        if status:
            commands.append(Command(last.words, last.shown, int(status[1])))
        else:
            commands.append(Command(last.words, (*last.shown, line), last.status))
    return commands


_PROGRESS = re.compile(r"\S.*: \d+/\d+ .* left\b")


def matches(shown: tuple[str, ...], printed: str, vary: bool = False) -> bool:
    """Return whether a command printed what the page shows.

    Args:
        shown: lines of the page; "[…]" stands for any text, and alone on a line for any lines. Nothing shown matches everything.
        printed: the command's whole output, of which lines of progress bars don't count.
        vary: whether decimal fractions and seconds may differ.
    """
    pattern = ""
    for line in shown:
        if line.strip() == "[…]":
            pattern += r"(?:[^\n]*\n)*?"
            continue
        escaped = re.escape(line.rstrip()).replace(re.escape("[…]"), r"[^\n]*?")
        if vary:
            escaped = re.sub(r"\d+\\\.\d+(?:e\\?[-+]\d+)?|\d+(?=\\ s\b)", r"-?\\d[\\d.]*(?:e[-+]\\d+)?", escaped)
        pattern += escaped + r"[ ]*\n"
    # lines of progress bars, which commands print without a terminal only if an epoch takes long, as on a busy machine
    lines = "".join(f"{line.rstrip()}\n" for line in printed.splitlines() if not _PROGRESS.match(line))
    return not shown or re.fullmatch(pattern, lines) is not None
