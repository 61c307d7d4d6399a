"""Passes through the backbone: heads with the same preprocessing share one, so that the backbone runs once per image for all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

from zoo.images.preprocess import Preprocess


@dataclass(frozen=True)
class Pass:
    """One pass through the backbone.

    Attributes:
        preprocess: preprocessing of its images.
        heads: names of the heads that use its feature maps.
    """

    preprocess: Preprocess
    heads: tuple[str, ...]


def passes_of(ways: Mapping[str, Preprocess]) -> list[Pass]:
    """Return the passes of heads with this preprocessing by head name."""
    heads: dict[Preprocess, list[str]] = {}
    for name, preprocess in ways.items():
        heads.setdefault(preprocess, []).append(name)
    return [Pass(preprocess, tuple(names)) for preprocess, names in heads.items()]


def differences(passes: list[Pass]) -> str:
    """Return why the heads need several passes: the settings that differ, with their values by head. "" for one pass."""
    if len(passes) < 2:
        return ""
    parts = []
    for setting in fields(Preprocess):
        values = [getattr(each.preprocess, setting.name) for each in passes]
        if len(set(values)) > 1:
            of = (f"{value} for {', '.join(each.heads)}" for value, each in zip(values, passes, strict=True))
            parts.append(f"{setting.name} is {' and '.join(of)}")
    return "; ".join(parts)


def described(passes: list[Pass]) -> str:
    """Return how many passes through the backbone an image needs, for which heads, and why it needs several."""
    if len(passes) == 1:
        return "1 per image"
    return f"{len(passes)} per image: {differences(passes)}"
