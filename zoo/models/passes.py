"""Passes through the backbone: heads with the same preprocessing and the same layers share one, so that the backbone runs once for all."""

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
        adapted: whether the backbone has the adapters of its only head.
    """

    preprocess: Preprocess
    heads: tuple[str, ...]
    adapted: bool = False


def passes_of(heads: Mapping[str, tuple[Preprocess, bool]]) -> list[Pass]:
    """Return the passes of heads. The argument has their preprocessing, and whether they have adapters, by head name."""
    shared: dict[tuple[Preprocess, str], list[str]] = {}
    for name, (preprocess, adapted) in heads.items():
        shared.setdefault((preprocess, name if adapted else ""), []).append(name)
    return [Pass(preprocess, tuple(names), adapted != "") for (preprocess, adapted), names in shared.items()]


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
    adapted = [name for each in passes if each.adapted for name in each.heads]
    parts += [f"{', '.join(adapted)} {'have adapters' if len(adapted) > 1 else 'has adapters'}"] if adapted else []
    return "; ".join(parts)


def described(passes: list[Pass]) -> str:
    """Return how many passes through the backbone an image needs, for which heads, and why it needs several."""
    if len(passes) == 1:
        return "1 per image"
    return f"{len(passes)} per image: {differences(passes)}"
