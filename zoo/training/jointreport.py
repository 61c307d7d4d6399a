"""HTML report of a training run with several heads: a comparison of the heads, and a section for each of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from zoo.errors import Fault
from zoo.report import charts, document, examples, tables
from zoo.report.document import Section
from zoo.report.pages import table, text
from zoo.task.joint import JointRecipe, find_joint_recipe
from zoo.task.metric import Scores
from zoo.task.recipe import RunRecipe
from zoo.training.history import best_epoch, curves
from zoo.training.report import STYLE, Trained, labels, samples, settings, warnings

_RUN = tuple(setting.name for setting in fields(RunRecipe))


@dataclass(frozen=True)
class JointlyTrained:
    """Data for the report of a finished training run with several heads."""

    heads: Mapping[str, Trained]  # with a view of the model for each trained head, and without skipped samples
    alone: Mapping[str, Scores]  # of each head trained alone; empty if that wasn't requested
    history: Sequence[Mapping[str, Any]]  # one entry per epoch, as in metrics.jsonl
    chosen: JointRecipe  # as requested
    recipe: JointRecipe  # with batch sizes and epochs adapted to the data
    skipped: Sequence[Fault]
    seconds: float  # wall-clock time of the whole run

    @property
    def primary_scores(self) -> list[str]:
        """Names of the scores by which epochs are compared, as in metrics.jsonl."""
        return [f"{name}/{_primary(head)}" for name, head in self.heads.items() if head.scores is not None]


def _primary(head: Trained) -> str:
    return head.model.definition.scoring.primary_score


def html(name: str, run: JointlyTrained) -> str:
    """Return the report as HTML. `name` is the name of the run, shown as the title."""
    learning = ['<div class="charts">', *map(charts.chart, curves(run.history, run.primary_scores)), "</div>"]
    overview: list[Section] = [("heads", "Heads", list(_heads(run)))]
    if run.alone:
        overview.append(("alone", "Jointly and alone", list(_alone(run))))
    overview.append(("learning", "Learning", learning))
    skipped = [tables.left_out(run.skipped)] if run.skipped else ["<p>No samples were skipped.</p>"]
    after: list[Section] = [("recipe", "Recipe", list(_recipe(run))), ("data", "Skipped", skipped)]
    own = {head: _own(trained) for head, trained in run.heads.items()}
    used = [*overview, *after, *(section for sections in own.values() for section in sections)]
    room = document.LARGEST - document.SPARE - sum(len(part.encode()) for _, _, parts in used for part in parts)
    found: list[Section] = []
    for head, trained in run.heads.items():
        scored: list[Section] = []
        if trained.scores is not None and trained.validation is not None:
            scored = list(document.evaluation(trained.scores, trained.validation, trained.model.definition, None, room // len(run.heads)))
        sections = [*own[head][:1], *scored, *own[head][1:]]
        parts = [part for _, title, inner in sections for part in (f"<h3>{text(title)}</h3>", *inner)]
        found.append((f"head-{head}", text(head), parts))
    head_parts = [f'<p class="kicker">Training · {text(", ".join(run.heads))}</p><h1>{text(name)}</h1>', *_top(run)]
    return document.whole(f"{', '.join(run.heads)}: {name}", head_parts, [*overview, *found, *after], examples.STYLE + STYLE)


def _own(head: Trained) -> list[Section]:
    return [("samples", "Sample predictions", list(samples(head))), ("labels", "Data", list(labels(head)))]


def _top(run: JointlyTrained) -> Iterator[str]:
    best, last = best_epoch(run.history, run.primary_scores), run.history[-1] if run.history else {}
    facts = {
        "epochs": f"{len(run.history)} of {run.recipe.epochs}",
        "best epoch": "" if best is None else str(best["epoch"]),
        "steps": f"{last.get('step', 0):,}",
        "samples": f"{sum(len(head.dataset) for head in run.heads.values()):,}",
        "seconds": f"{run.seconds:.0f}",
        "model": next(iter(run.heads.values())).model.backbone_name,
    }
    yield tables.panel("loss", last.get("loss"), "sum of the mean losses of the heads in the last epoch", facts)
    yield from warnings(run.history, run.recipe, len(run.skipped))


def _heads(run: JointlyTrained) -> Iterator[str]:
    """Yield a table of the heads with their validation scores at the best epoch."""
    rows = []
    for name, head in run.heads.items():
        score = ("", "–") if head.scores is None else (_primary(head), _with_interval(head.scores, _primary(head)))
        link = f'<a href="#head-{text(name)}">{text(name)}</a>'
        rows.append((link, text(head.model.task), f"{len(head.dataset):,}", *score))
    yield table(("head", "task", "samples", "score", "value"), rows, right=[2, 4])
    if len(run.primary_scores) > 1:
        yield (
            "<p>The kept epoch is chosen by the mean rank of these scores: an epoch replaces the kept one if the mean of its ranks among "
            "all epochs so far is at most that of the kept one.</p>"
        )


def _alone(run: JointlyTrained) -> Iterator[str]:
    """Yield the table of each head trained jointly and alone."""
    yield (
        "<p>Each head was also trained alone: from the same initial weights, on the same batches of its samples, with the same settings. "
        "Each value is that of the best epoch on the validation data, with a 95 % bootstrap interval.</p>"
    )
    rows = []
    for name, alone in run.alone.items():
        head = run.heads[name]
        assert head.scores is not None, "validation data was required"
        score = _primary(head)
        rows.append((text(name), text(score), _with_interval(head.scores, score), _with_interval(alone, score)))
    yield table(("head", "score", "jointly", "alone"), rows, right=[2, 3])


def _with_interval(scores: Scores, name: str) -> str:
    value, bounds = scores.scores.get(name), scores.intervals.get(name)
    shown = tables.number(value)
    return shown if bounds is None else f"{shown} [{bounds[0]:.4f}, {bounds[1]:.4f}]"


def _recipe(run: JointlyTrained) -> Iterator[str]:
    standard = find_joint_recipe({name: (type(recipe), {}) for name, recipe in run.chosen.heads.items()}, None)
    yield from settings(run.chosen, run.recipe, standard, "the heads'")
    for name, own in run.chosen.heads.items():
        yield f"<h3>{text(name)}</h3>"
        yield from settings(own, run.recipe.heads[name], type(own)(), "the task's", _RUN)
