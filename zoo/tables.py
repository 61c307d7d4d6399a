"""Results as tables, for people who look at a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from zoo.scores import Scores


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def print_scores(scores: Scores) -> None:
    """Print scores, the scores of each class where there aren't too many, and what was left out."""
    console = Console(highlight=False, markup=False)
    table = Table("score", "value", title=scores.data, title_justify="left")
    for name, value in scores.items():
        table.add_row(name, _number(value))
    console.print(table)
    if 0 < len(scores.per_class) <= 40:
        console.print(_per_class(scores.per_class))
    console.print(f"{scores.n} of {scores.expected} pictures scored in {scores.seconds:.1f} s, {scores.precision}")
    for fault in scores.skipped:
        console.print(f"left out: {fault}")


def _per_class(per_class: Mapping[str, Mapping[str, float | None]]) -> Table:
    columns = list(next(iter(per_class.values())))
    table = Table("class", *columns)
    for name, values in per_class.items():
        table.add_row(name, *(str(values[column]) if isinstance(values[column], int) else _number(values[column]) for column in columns))
    return table


def print_info(content: Mapping[str, Any]) -> None:
    """Print a description: one row an entry, lists and records in words."""
    table = Table(show_header=False)
    for name, value in content.items():
        table.add_row(name, _words(name, value))
    Console(highlight=False, markup=False).print(table)


def _words(name: str, value: Any) -> str:
    if name == "levels":
        return "\n".join(f"{level['name']}: {level['channels']} channels, stride {level['stride']}" for level in value)
    if name == "parameters":
        return f"{value / 1e6:.2f} M"
    if name == "flops":
        return f"{value / 1e9:.2f} G (a multiply-add counts as two)"
    if isinstance(value, Mapping):
        return "\n".join(f"{key}: {_words('', entry)}" for key, entry in value.items()) or "–"
    if isinstance(value, list | tuple):
        return ", ".join(str(entry) for entry in value[:12]) + (f", … ({len(value)} in all)" if len(value) > 12 else "") or "–"
    return "–" if value is None else str(value)
