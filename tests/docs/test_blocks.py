"""The reader of code blocks, and the comparison of outputs: what must be found, and what must not be overlooked."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.blocks import Command, matches, read_blocks, read_commands
from tests.docs.runner import run_python


def page(folder: Path, text: str) -> Path:
    file = folder / "page.md"
    file.write_text(text, encoding="utf-8")
    return file


def test_blocks_have_language_line_and_notes(tmp_path: Path) -> None:
    text = "# A\n\n```python\nx = 1\n```\n\n<!-- needs: product new -->\n<!-- figures vary -->\n```console\n$ zoo runs\n```\n"
    first, second = read_blocks(page(tmp_path, text))
    assert (first.language, first.text, first.line, first.needs) == ("python", "x = 1\n", 4, ())
    assert (second.language, second.line, second.needs, second.vary, second.not_run) == ("console", 10, ("product", "new"), True, "")


def test_a_comment_holds_for_the_next_block_only(tmp_path: Path) -> None:
    text = "<!-- not run: needs a camera -->\n```python\n1 / 0\n```\n\n```python\nx = 1\n```\n"
    assert [block.not_run for block in read_blocks(page(tmp_path, text))] == ["needs a camera", ""]


@pytest.mark.parametrize("comment", ["not run", "not run:", "not-run: slow", "needs:", "figures may vary"])
def test_an_unknown_comment_is_an_error(tmp_path: Path, comment: str) -> None:
    with pytest.raises(ValueError, match=r"page\.md line 3: unknown comment"):
        read_blocks(page(tmp_path, f"<!-- {comment} -->\n```python\nx = 1\n```\n"))


def test_commands_have_words_output_and_status() -> None:
    text = "$ zoo list 'resnet*'   # quoted\nresnet18\n$ zoo train \\\n    --data x\n[…]\n[exit status 2]\n"
    assert read_commands(text) == [
        Command(("zoo", "list", "resnet*"), ("resnet18",)),
        Command(("zoo", "train", "--data", "x"), ("[…]",), 2),
    ]


def test_output_before_the_first_command_is_an_error() -> None:
    with pytest.raises(ValueError, match="output before the first command: 'resnet18'"):
        read_commands("resnet18\n$ zoo list\n")


@pytest.mark.parametrize(
    ("shown", "printed", "vary", "same"),
    [
        ((), "anything\n", False, True),
        (("a", "b"), "a\nb\n", False, True),
        (("a",), "a\nb\n", False, False),
        (("a", "b"), "a\n", False, False),
        (("a", "[…]"), "a\nb\nc\n", False, True),
        (("[…]", "c"), "a\nb\nc\n", False, True),
        (("a", "[…]", "d"), "a\nb\nc\n", False, False),
        (("loss […] top1",), "loss 0.5 top1\n", False, True),
        (("loss […] top1",), "loss 0.5\ntop1\n", False, False),
        (("a.c",), "abc\n", False, False),
        (("loss 0.5  3 s",), "loss 0.25  14 s\n", True, True),
        (("loss 0.5",), "loss 0.25\n", False, False),
        (("epoch 1/3",), "epoch 2/3\n", True, False),
        (("loss 0.5",), "lass 0.5\n", True, False),
        (("lr 8.56e-04",), "lr 1.2e-05\n", True, True),
        (("distance 0.77",), "distance -0.1\n", True, True),
        (("loss 0.5",), "loss nan\n", True, False),
    ],
)
def test_shown_output_is_compared(shown: tuple[str, ...], printed: str, vary: bool, same: bool) -> None:
    assert matches(shown, printed, vary) is same


def test_a_wrong_result_in_a_python_block_fails(tmp_path: Path) -> None:
    file = page(tmp_path, "```python\nx = 1\n```\n\n```python\n>>> x + 1\n3\n```\n")
    first, second = read_blocks(file)
    namespace: dict[str, object] = {}
    run_python(first, file, namespace)
    assert namespace["x"] == 1
    with pytest.raises(AssertionError, match=r"(?s)Expected:\n    3\nGot:\n    2"):
        run_python(second, file, namespace)


def test_an_error_names_the_line_of_the_page(tmp_path: Path) -> None:
    file = page(tmp_path, "# A\n\n```python\nx = 1\n1 / 0\n```\n")
    with pytest.raises(ZeroDivisionError) as caught:
        run_python(read_blocks(file)[0], file, {})
    assert caught.traceback[-1].lineno + 1 == 5
