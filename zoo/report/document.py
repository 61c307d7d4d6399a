"""HTML report of an evaluation: its sections and their order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo.data.dataset import Dataset
from zoo.errors import InputError
from zoo.models.heads import head_data
from zoo.models.model import Model
from zoo.report import charts, confusion, mistakes, tables
from zoo.report.pages import page, text
from zoo.system.files import write_text
from zoo.task.contract import Task, get_task
from zoo.task.metric import Scores

LARGEST = 5_000_000  # maximum size of a report in bytes
SPARE = 100_000  # bytes reserved for the HTML outside the sections
_STYLE = "".join(part.STYLE for part in (tables, confusion, charts, mistakes))
Section = tuple[str, str, list[str]]  # anchor, title, HTML


def write_report(
    scores: Scores | Mapping[str, Scores],
    data: object,
    path: str | Path,
    *,
    model: Model | None = None,
    task: str | Mapping[str, str] | None = None,
    options: Mapping[str, Any] | None = None,
) -> None:
    """Write the report of an evaluation as one HTML file. It is smaller than 5 MB and loads no external resources.

    Args:
        scores: result of `zoo.evaluate` or `evaluate_predictions`. For a dict from head name to scores, the report has a section per head.
        data: the scored dataset, as passed to `zoo.evaluate` or `evaluate_predictions`. The images of the mistakes are read from it.
        path: output file. An existing file is replaced atomically.
        model: the scored model. If passed, the report of a classifier contains saliency maps (Grad-CAM; requires captum).
        task: name of the task. Required if no model is passed. For several heads, a mapping from head name to task.
        options: options of the models, as in `zoo.build`, if no model is passed and they matter for the data, as `multi_label`. For several
            heads, a mapping from head name to options.

    Raises:
        InputError: neither a model nor a task is passed, or the dataset is invalid.
        UnknownNameError: the model has no head of that name.

    Example:
        >>> import tempfile, zoo
        >>> model = zoo.build("resnet20", classes=[str(digit) for digit in range(10)])
        >>> scores = zoo.evaluate(model, "demo:digits?split=test&limit=8")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     zoo.write_report(scores, "demo:digits?split=test&limit=8", f"{folder}/report.html", model=model)
    """
    if model is None and task is None:
        raise InputError("write_report needs a model or a task: pass model=, or task= for predictions from a file")
    # the evaluation has reported unreadable samples; the report shows an error message in place of a missing image
    if isinstance(scores, Scores):
        definition = model.definition if model is not None else get_task(str(task), options)
        write_text(Path(path), html(scores, definition.open(data, "skip", pictures=False), definition, model))
        return
    if model is not None:
        definitions = {name: head.definition for name, head in model.config.heads.items()}
    else:
        definitions = {name: get_task(kind, (options or {}).get(name)) for name, kind in _by_head("task", task).items()}
    chosen = head_data(definitions, data)
    heads = [
        HeadResult(
            name, scores[name], definitions[name].open(chosen[name], "skip", pictures=False), definitions[name], model and model.view(name)
        )
        for name in chosen
    ]
    write_text(Path(path), html_of_heads(heads))


def _by_head(what: str, value: object) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise InputError(f"{what} is {value!r}; the scores of several heads need a mapping from head name to {what}, or the model")
    return value


@dataclass(frozen=True)
class HeadResult:
    """Result of one head, for the report of a model with several heads."""

    name: str
    scores: Scores
    dataset: Dataset
    task: Task
    model: Model | None  # with this head only


def html_of_heads(heads: Sequence[HeadResult]) -> str:
    """Return the report of several heads as HTML, with one section per head."""
    room = (LARGEST - SPARE) // len(heads)
    sections: list[Section] = []
    for head in heads:
        parts = [f"<p>{text(head.task.name)} · {text(head.scores.data)}</p>"]
        parts += tables.headline(head.scores, head.task.scoring.primary_score, {})
        for anchor, title, content in evaluation(head.scores, head.dataset, head.task, head.model, room):
            parts += [f'<section id="{head.name}-{anchor}"><h3>{title}</h3>', *content, "</section>"]
        sections.append((head.name, head.name, parts))
    names = ", ".join(head.name for head in heads)
    title = names if heads[0].model is None else f"{heads[0].model.backbone_name}: {names}"
    return whole(title, [f'<p class="kicker">Evaluation</p><h1>{text(title)}</h1>'], sections)


def html(scores: Scores, dataset: Dataset, task: Task, model: Model | None = None) -> str:
    """Return the report as HTML. Images are read from the dataset."""
    facts = {"model": "" if model is None else model.backbone_name, "classes": f"{len(scores.per_class):,}" if scores.per_class else ""}
    head = [
        f'<p class="kicker">Evaluation · {text(task.name)}</p><h1>{text(scores.data)}</h1>',
        *tables.headline(scores, task.scoring.primary_score, facts),
    ]
    return whole(f"{task.name}: {scores.data}", head, list(evaluation(scores, dataset, task, model, LARGEST - SPARE)))


def whole(title: str, head: Iterable[str], sections: Sequence[Section], style: str = "") -> str:
    """Return a report that consists of `head` (HTML), links to the sections, and the sections. `style` is additional CSS."""
    links = "".join(f'<a href="#{anchor}">{name}</a>' for anchor, name, _ in sections)
    body = [line for anchor, name, parts in sections for line in (f'<section id="{anchor}"><h2>{name}</h2>', *parts, "</section>")]
    return page(title, [*head, f'<nav aria-label="Sections">{links}</nav>', *body], _STYLE + style)


def evaluation(scores: Scores, dataset: Dataset, task: Task, model: Model | None, room: int) -> Iterator[Section]:
    """Yield the sections of an evaluation report, from scores to provenance.

    All sections together have at most `room` bytes; the images of the mistakes are reduced if necessary. Saliency maps need a model.
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
    """Yield the sections before the mistakes: scores, confusion matrix, tables and curves."""
    yield "scores", "Scores", [tables.score_table(scores)]
    matrix = scores.details.get("confusion_matrix")
    if matrix:
        yield "confusion", "Confusion matrix", list(confusion.confusion(matrix))
    if scores.tables:
        yield "analysis", "Analysis", [part for found in scores.tables for part in tables.given(found)]
    if scores.curves:
        yield "curves", "Curves", ['<div class="charts">', *map(charts.chart, scores.curves), "</div>"]


def _more(scores: Scores, model: Model | None) -> Iterator[Section]:
    """Yield the sections after the mistakes: scores per class, skipped samples, details and provenance."""
    if scores.per_class:
        yield "classes", "Per class", list(tables.per_class(scores.per_class))
    if scores.skipped:
        yield "left-out", "Skipped", [tables.left_out(scores.skipped)]
    others = {name: value for name, value in scores.details.items() if name != "confusion_matrix"}
    if others:
        yield "details", "Details", ["<details><summary>other results</summary>", *tables.details(others), "</details>"]
    yield "provenance", "Provenance", [tables.provenance(scores, "" if model is None else model.config.weights or "")]
