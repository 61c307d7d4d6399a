"""Messages about errors of other libraries, and about missing paths."""

from __future__ import annotations

from pathlib import Path

import pytest

from zoo.system.wording import look_at, reason


def _led_to(first: Exception, second: Exception) -> Exception:
    try:
        raise second from first
    except Exception as error:
        return error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (RuntimeError("one\ntwo\n"), "RuntimeError: one"),
        (RuntimeError("\n  one"), "RuntimeError: one"),
        (KeyError(), "KeyError"),
        (RuntimeError("Exception from src/infer_request.cpp:224:\nException from node.cpp:794:\nThe kernel is too large.\n\n"),
         "RuntimeError: The kernel is too large."),
        (RuntimeError("Check 'false' failed at report.cpp:151:\n-- No rule for: aten.eig"), "RuntimeError: -- No rule for: aten.eig"),
        (RuntimeError("\x1b[96mThis is step 3/3\x1b[0m of it"), "RuntimeError: This is step 3/3 of it"),
        (_led_to(ValueError("no such operation"), RuntimeError("it failed")), "ValueError: no such operation"),
    ],
)  # fmt: skip
def test_a_reason_is_one_line(error: Exception, expected: str) -> None:
    assert reason(error) == expected


def test_only_a_relative_path_is_relative_to_something(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert look_at(Path("photos")) == f"Check the path; it is relative to {tmp_path}"
    assert look_at(tmp_path / "photos") == "Check the path"
