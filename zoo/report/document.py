"""The report as a whole: which sections there are, and in which order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from zoo.data.dataset import Dataset
from zoo.errors import InputError
from zoo.models.model import Model
from zoo.report import charts, confusion, mistakes, summary, tables
from zoo.report.pages import page, text
from zoo.system.files import write_text
from zoo.task.contract import get_task
from zoo.task.scores import Scores

LARGEST = 5_000_000  # bytes
SPARE = 100_000  # of them, for what is around the sections
_STYLE = "".join(part.STYLE for part in (summary, confusion, charts, mistakes))
Section = tuple[str, str, list[str]]  # anchor, title, HTML


def write_report(scores: Scores, data: object, path: str | Path, *, model: Model | None = None, task: str | None = None) -> None:
    """Write what an evaluation found as one HTML file under 5 MB, which loads nothing from anywhere.

    Args:
        scores: of `zoo.evaluate` or `evaluate_predictions`.
        data: what was scored, as it was handed to them: the pictures of the mistakes are read from it.
        path: the file; replaced whole.
        model: what was scored; with it the report shows where a classifier looked (Grad-CAM; needs captum).
        task: the task's name, where there is no model.

    Raises:
        InputError: neither a model nor a task is given, or the data is wrong.

    Example:
        >>> import tempfile, zoo
        >>> model = zoo.build("resnet20", classes=[str(digit) for digit in range(10)])
        >>> scores = zoo.evaluate(model, "demo:digits?split=test&limit=8")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     zoo.write_report(scores, "demo:digits?split=test&limit=8", f"{folder}/report.html", model=model)
    """
    name = task or (model.task if model is not None else None)
    if name is None:
        raise InputError("write_report has neither a model nor a task; give model=, or task= for answers from a file")
    # what could not be read was reported when it was scored; a picture that is missing is said so in its place
    dataset = get_task(name).open(data, "skip", pictures=False)
    write_text(Path(path), html(scores, dataset, name, model))


def html(scores: Scores, dataset: Dataset, task: str, model: Model | None = None) -> str:
    """Return the report.

    Args:
        scores: the result.
        dataset: where the pictures are.
        task: the task's name.
        model: what was scored, where it is at hand.
    """
    facts = {"model": "" if model is None else model.backbone_name, "classes": f"{len(scores.per_class):,}" if scores.per_class else ""}
    head = [
        f'<p class="kicker">Evaluation · {text(task)}</p><h1>{text(scores.data)}</h1>',
        *summary.headline(scores, get_task(task).scoring.primary_score, facts),
    ]
    return whole(f"{task}: {scores.data}", head, list(evaluation(scores, dataset, task, model, LARGEST - SPARE)))


def whole(title: str, head: Iterable[str], sections: Sequence[Section], style: str = "") -> str:
    """Return a report of its head, links to its sections, and these.

    Args:
        title: of the page, plain text.
        head: HTML.
        sections: in their order.
        style: CSS besides that of the parts that every report has.
    """
    links = "".join(f'<a href="#{anchor}">{title}</a>' for anchor, title, _ in sections)
    return page(title, [*head, f'<nav aria-label="Sections">{links}</nav>', *_laid_out(sections)], _STYLE + style)


def _laid_out(sections: Sequence[Section]) -> Iterator[str]:
    for anchor, title, parts in sections:
        yield f'<section id="{anchor}"><h2>{title}</h2>'
        yield from parts
        yield "</section>"


def evaluation(scores: Scores, dataset: Dataset, task: str, model: Model | None, room: int) -> Iterator[Section]:
    """Yield the sections that an evaluation fills, from the scores down to what they rest on.

    Args:
        scores: the result.
        dataset: where the pictures are.
        task: the task's name.
        model: what was scored, where the page shall show where it looked.
        room: bytes that they may take together; the pictures of the mistakes become smaller where it must be.
    """
    before, after = list(_why(scores)), list(_more(scores, model))
    if scores.mistakes:
        made, note = mistakes.cards(scores.mistakes, dataset, task, model)
        words = [part for _, _, parts in (*before, *after) for part in parts] + list(mistakes.section(made, scores.mistakes, note, 0))
        left = room - sum(len(part.encode()) for part in words)
        before.append(("mistakes", "Worst mistakes", list(mistakes.section(made, scores.mistakes, note, left))))
    yield from before
    yield from after


def _why(scores: Scores) -> Iterator[Section]:
    """Yield the scores, and which errors there are."""
    yield "scores", "Scores", [summary.score_table(scores)]
    matrix = scores.details.get("confusion_matrix")
    if matrix:
        yield "confusion", "Confusion matrix", list(confusion.confusion(matrix))
    if scores.tables:
        yield "analysis", "Analysis", [part for found in scores.tables for part in tables.given(found)]
    if scores.curves:
        yield "curves", "Curves", ['<div class="charts">', *map(charts.chart, scores.curves), "</div>"]


def _more(scores: Scores, model: Model | None) -> Iterator[Section]:
    """Yield everything else, down to what it all rests on."""
    if scores.per_class:
        yield "classes", "Per class", list(tables.per_class(scores.per_class))
    if scores.skipped:
        yield "left-out", "Left out", [summary.left_out(scores.skipped)]
    others = {name: value for name, value in scores.details.items() if name != "confusion_matrix"}
    if others:
        yield "details", "Details", ["<details><summary>what else was found</summary>", *tables.details(others), "</details>"]
    yield "provenance", "What this rests on", [summary.provenance(scores, "" if model is None else model.config.weights or "")]
