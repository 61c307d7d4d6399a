"""Names in every script are drawn with a font that has their letters, or visibly replaced."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from zoo.images import drawing
from zoo.images.drawing import caption, lettering
from zoo.report.sheet import Seen, sheet
from zoo.tasks.detection.prediction.detections import Detections

IMAGE = np.full((64, 96, 3), 90, np.uint8)


@pytest.fixture
def no_system_fonts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "_system_fonts", list)
    lettering.cache_clear()


@pytest.mark.parametrize(
    ("text", "drawn", "font"),
    [
        ("plain 0.9…", "plain 0.9…", "Aileron"),
        ("Käfer × 2", "Käfer × 2", "DejaVu Sans"),
        ("лист", "лист", "DejaVu Sans"),
        ("قط", "قط", "DejaVu Sans"),
        ("猫 лист", r"\u732b лист", "DejaVu Sans"),
        ("사과\nлист", "\\uc0ac\\uacfc\nлист", "DejaVu Sans"),
    ],
)
def test_a_font_that_has_the_letters_is_found(no_system_fonts: None, text: str, drawn: str, font: str) -> None:
    found, used = lettering(text, 20)
    assert (found, used.getname()[0], used.size) == (drawn, font, 20)


def test_a_font_of_the_system_is_used_where_it_has_the_letters(monkeypatch: pytest.MonkeyPatch) -> None:
    letters = {None: set(map(ord, "abc ")), drawing._dejavu(): set(map(ord, "abc лист")), "cjk": set(map(ord, "abc 猫犬"))}
    monkeypatch.setattr(drawing, "_system_fonts", lambda: ["cjk"])
    monkeypatch.setattr(drawing, "_characters", lambda file: frozenset(letters[file]))
    monkeypatch.setattr(drawing, "_font", lambda file, size: file)
    lettering.cache_clear()
    found: list[Any] = [lettering(text, 12) for text in ("abc 猫", "猫犬 л")]
    assert found == [("abc 猫", "cjk"), (r"猫犬 \u043b", "cjk")], "the font with most of the letters"
    lettering.cache_clear()


def detections(name: str) -> NDArray[np.uint8]:
    box, one = np.array([[10, 20, 60, 50]], np.float32), np.array([0.9], np.float32)
    return np.asarray(Detections("a.jpg", IMAGE, box, one, np.array([0]), (name,)).plot())


def shown(name: str) -> NDArray[np.uint8]:
    return np.asarray(sheet([[Seen("a.jpg", IMAGE, (name,), np.array([[10, 20, 90, 60]], np.float32))]], "title", [name]))


@pytest.mark.parametrize("draw", [detections, shown, lambda name: np.asarray(caption(IMAGE, [name]))])
@pytest.mark.parametrize(("name", "other"), [("лист", "пень"), ("éé", "èè"), ("قط", "كل"), ("猫", "犬")])
def test_different_names_look_different(no_system_fonts: None, draw: Callable[[str], NDArray[np.uint8]], name: str, other: str) -> None:
    assert not np.array_equal(draw(name), draw(other)), "all letters are drawn as the same box"
