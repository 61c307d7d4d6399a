"""Functions that print results as tables in the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from textwrap import indent
from typing import Any

from rich.console import Console
from rich.table import Table

from zoo.evaluation.comparison import Comparison
from zoo.task.metric import Scores


def number(value: float | None) -> str:
    """Return a score with four decimals, or a dash if it is missing."""
    return "–" if value is None else f"{value:.4f}"


def print_scores(scores: Scores) -> None:
    """Print the scores, the scores of each class (if there are at most 40 classes), and the skipped samples."""
    console = Console(highlight=False, markup=False, emoji=False)
    table = Table("score", "value", "95 % interval")
    for name, value in scores.items():
        table.add_row(name, number(value), bounds(scores.intervals.get(name)))
    if scores.data:
        console.print(scores.data, soft_wrap=True)
    console.print(table)
    if 0 < len(scores.per_class) <= 40:
        console.print(_per_class(scores.per_class))
    how = f" in {scores.seconds:.1f} s, {scores.precision}" if scores.precision else ""
    console.print(f"{scores.n} of {scores.expected} images scored{how}")
    for name, commit in scores.hub.items():
        console.print(f"{name}: hf:{commit['repository']}@{commit['commit']}", soft_wrap=True)
    if (alignment := scores.details.get("alignment")) is not None:
        found, total = alignment["found"], alignment["found"] + len(alignment["not_found"])
        console.print(f"aligned {found} of {total} images (detector {alignment['detector']}, template {alignment['template']})")
    for fault in scores.skipped:
        console.print(f"skipped: {fault}", soft_wrap=True)


def bounds(interval: tuple[float, float] | None) -> str:
    """Return an interval with four decimals, or "" if there is none."""
    return "" if interval is None else f"{interval[0]:.4f} – {interval[1]:.4f}"


def print_comparison(comparison: Comparison, a: str, b: str) -> None:
    """Print each score of both sides, their difference with its interval, and whether the difference is significant."""
    console = Console(highlight=False, markup=False, emoji=False)
    table = Table("score", "A", "B", "B − A", "95 % interval", "differs")
    for name, found in comparison.differences.items():
        verdict = {None: "unknown", True: "yes", False: "no"}[found.distinguishable]
        table.add_row(name, number(found.a), number(found.b), f"{found.difference:+.4f}", bounds(found.interval), verdict)
    console.print(f"A: {a}\nB: {b}", soft_wrap=True)
    console.print(table)
    runs = f"; mean over {comparison.runs[0]} and {comparison.runs[1]} runs" if comparison.runs != (1, 1) else ""
    console.print(f"{comparison.n} images, the same for both{runs}")


def print_corruptions(found: Mapping[str, Any]) -> None:
    """Print the score for every corruption and severity, the mean of these scores, and its drop relative to the score on clean images."""
    console = Console(highlight=False, markup=False, emoji=False)
    severities = list(next(iter(found["corruptions"].values())))
    table = Table(f"{found['score']} of {found['data']}", *(f"severity {severity}" for severity in severities), "mean")
    for name, scores in found["corruptions"].items():
        table.add_row(name, *(number(scores[severity]) for severity in severities), number(found["by_corruption"][name]))
    console.print(table)
    for name, words in (("clean", "clean"), ("mean", "mean over all"), ("relative_drop", "relative drop")):
        shown = bounds(tuple(found["intervals"][name])) if name in found["intervals"] else ""
        console.print(f"{words}: {number(found[name])}{f' ({shown})' if shown else ''}")
    console.print(found["note"])


def print_attacked(found: Mapping[str, Any]) -> None:
    """Print the scores on clean and on attacked images, with the primary score first, and the number of images or pairs."""
    console = Console(highlight=False, markup=False, emoji=False)
    table = Table("score", "clean", "95 % interval", "attacked", "95 % interval")
    clean, robust = found["clean"], found["robust"]
    for name in sorted(clean["scores"], key=lambda name: name != found["score"]):
        cells = [cell for kind in (clean, robust) for cell in (number(kind["scores"][name]), bounds(kind["intervals"].get(name)))]
        table.add_row(name, *cells)
    console.print(f"{found['attack']}, perturbations of up to {found['eps'] * 255:.4g}/255")
    console.print(table)
    pairs = clean["details"].get("pairs")
    which = "" if pairs is None else f" in {pairs['genuine']} genuine and {pairs['impostor']} impostor pairs, {pairs['missing']} missing"
    console.print(f"{clean['n']} of {clean['expected']} images{which}")
    for fault in clean["skipped"]:
        console.print(f"skipped: {fault['key']}: {fault['reason']}", soft_wrap=True)


def _per_class(per_class: Mapping[str, Mapping[str, float | None]]) -> Table:
    columns = list(next(iter(per_class.values())))
    table = Table("class", *columns)
    for name, values in per_class.items():
        table.add_row(name, *(str(values[column]) if isinstance(values[column], int) else number(values[column]) for column in columns))
    return table


def print_info(content: Mapping[str, Any]) -> None:
    """Print the result of `zoo.info` as a table with one row per entry."""
    table = Table(show_header=False)
    for name, value in content.items():
        table.add_row(name, _words(name, value))
    Console(highlight=False, markup=False, emoji=False).print(table)


def _words(name: str, value: Any) -> str:
    if name == "levels":
        return "\n".join(f"{level['name']}: {level['channels']} channels, stride {level['stride']}" for level in value)
    if name == "licences":
        return "\n".join(f"{each['weights']}: {each['licence']} {each['source']}".rstrip() for each in value) or "–"
    if name == "parameters":
        return f"{value / 1e6:.2f} M"
    if name == "flops":
        return f"{value / 1e9:.2f} G (a multiply-add counts as two)"
    if isinstance(value, Mapping):
        return "\n".join(f"{key}:{_nested(entry)}" for key, entry in value.items()) or "–"
    if isinstance(value, list | tuple):
        return ", ".join(str(entry) for entry in value[:12]) + (f", … ({len(value)} in all)" if len(value) > 12 else "") or "–"
    return "–" if value is None else str(value)


def _nested(value: Any) -> str:
    """Return a value in words, on the line of its name, or below it and indented if it has several lines."""
    words = _words("", value)
    return f"\n{indent(words, '  ')}" if "\n" in words else f" {words}"
