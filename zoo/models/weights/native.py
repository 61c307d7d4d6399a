"""The zoo's own key layout: `backbone.*` and `heads.<task>.*`."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from zoo.models.weights import LAYOUTS, Layout, Weights, split_prefix


def _recognise(state: Mapping[str, Tensor], backbone: str) -> bool:
    return all(key.startswith(("backbone.", "heads.")) for key in state)


def _convert(state: Mapping[str, Tensor], backbone: str, origin: str) -> Weights:
    trunk, rest = split_prefix(state, "backbone.")
    tasks = sorted({key.split(".")[1] for key in rest})
    head, _ = split_prefix(rest, f"heads.{tasks[0]}.") if tasks else ({}, {})
    return Weights(origin, trunk, head, tasks[0] if tasks else "")


LAYOUTS.add("native", Layout("the zoo's own (backbone.*, heads.*)", _recognise, _convert))
