"""HTML report of a training run: curves, settings, data, scores and sample predictions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo.data.dataset import Dataset
from zoo.errors import Fault
from zoo.models.model import Model
from zoo.report import charts, document, examples, tables
from zoo.report.document import Section
from zoo.report.pages import table, text
from zoo.system.files import write_text
from zoo.system.progress import Progress
from zoo.task.contract import Task
from zoo.task.metric import Scores, Table
from zoo.task.recipe import RunRecipe, explained, grouped
from zoo.training.history import best_epoch, curves

FILE = "report.html"

STYLE = """
.recipe td:nth-child(2){font-variant-numeric:tabular-nums}.recipe mark{background:none;color:inherit;font-weight:700;
border-bottom:2px solid #c2570c}
@media(max-width:600px){.recipe{font-size:13px}}
"""


@dataclass(frozen=True)
class Trained:
    """Data for the report of a finished training run with one head, or of one head of several."""

    model: Model  # with one head, in evaluation mode, on its device
    dataset: Dataset  # relabelled
    validation: Dataset | None  # relabelled
    history: Sequence[Mapping[str, Any]]  # one entry per epoch, as in metrics.jsonl
    scores: Scores | None  # on the validation data
    chosen: RunRecipe  # as requested
    recipe: RunRecipe  # with batch size and epochs adapted to the dataset
    skipped: Sequence[Fault]
    seconds: float  # wall-clock time of the whole run


def write_training_report(folder: Path, make: Callable[[str], str], progress: Progress) -> None:
    """Write report.html, a self-contained page of less than 5 MB, to the folder of a run.

    `make` is a function that returns the page for the name of the run. Errors are printed instead of raised, because the run itself has
    already been saved.
    """
    try:
        write_text(folder / FILE, make(folder.name))
    except Exception as error:
        progress.say(f"the report could not be written ({type(error).__name__}: {error}); the run itself is complete")
    else:
        progress.say(f"report: {folder / FILE}")


def html(name: str, run: Trained) -> str:
    """Return the report as HTML. `name` is the name of the run, shown as the title."""
    task = run.model.definition
    own = [
        ("learning", "Learning", ['<div class="charts">', *map(charts.chart, curves(run.history, task.scoring.primary_score)), "</div>"]),
        ("samples", "Sample predictions", list(samples(run))),
        ("recipe", "Recipe", list(settings(run.chosen, run.recipe, type(run.chosen)(), "the task's"))),
        ("data", "Data", list(labels(run))),
    ]
    room = document.LARGEST - document.SPARE - sum(len(part.encode()) for _, _, parts in own for part in parts)
    found: list[Section] = []
    if run.scores is not None and run.validation is not None:
        # without saliency maps, which need a forward and a backward pass for each mistake
        found = list(document.evaluation(run.scores, run.validation, task, None, room))
    head = [f'<p class="kicker">Training · {text(task.name)}</p><h1>{text(name)}</h1>', *_head(run, task)]
    return document.whole(f"{task.name}: {name}", head, [*own[:2], *found, *own[2:]], examples.STYLE + STYLE)


def _head(run: Trained, task: Task) -> Iterator[str]:
    best = best_epoch(run.history, task.scoring.primary_score)
    last: Mapping[str, Any] = run.history[-1] if run.history else {}
    facts = {
        # a head that stores features takes no steps and always has a single epoch
        "epochs": f"{len(run.history)} of {run.recipe.epochs}" if last.get("step", 1) else "",
        "best epoch": "" if best is None else str(best["epoch"]),
        "steps": f"{last.get('step', 0):,}",
        "last loss": tables.number(last.get("loss")),
        "samples": f"{len(run.dataset):,}",
        "seconds": f"{run.seconds:.0f}",
        "model": run.model.backbone_name,
    }
    if run.scores is None:
        yield tables.panel("loss", last.get("loss"), "last epoch; no validation data", facts)
    else:
        value = run.scores.scores.get(task.scoring.primary_score)
        yield tables.panel(task.scoring.primary_score, value, f"on the validation data {run.scores.data}", facts)
    yield from warnings(run.history, run.recipe, len(run.skipped))


def warnings(history: Sequence[Mapping[str, Any]], recipe: RunRecipe, skipped: int) -> Iterator[str]:
    """Yield the warnings at the top of a report as HTML. `skipped` is the number of errors listed in the section with the anchor "data"."""
    epochs = recipe.epochs if recipe.early_stop and recipe.epochs is not None else 0
    not_finite = sum(int(entry.get("not_finite", 0)) for entry in history)
    if len(history) < epochs:
        yield f'<p class="warning">Training stopped early, after {len(history)} of {epochs} epochs: the score no longer improved.</p>'
    if not_finite:
        yield f'<p class="warning">{not_finite:,} batches were skipped because their loss was not finite.</p>'
    if skipped:
        yield f'<p class="warning">{skipped:,} samples or annotations with errors were skipped: <a href="#data">Data</a>.</p>'


def samples(run: Trained) -> Iterator[str]:
    """Yield sample predictions as HTML."""
    task = run.model.definition
    dataset = run.dataset if run.validation is None else run.validation
    which = "training data, because there is no validation data" if run.validation is None else "validation data"
    shown = examples.answered(run.model, task, dataset)
    if not shown:
        yield "<p>No sample could be read.</p>"
        return
    yield from examples.section(
        shown, dataset, f"{len(shown)} samples of the {which}. They were selected by key, not by the model's predictions."
    )


def settings(chosen: RunRecipe, settled: RunRecipe, standard: RunRecipe, whose: str, without: Collection[str] = ()) -> Iterator[str]:
    """Yield the settings of a recipe as HTML.

    Args:
        chosen: the recipe as requested.
        settled: the recipe adapted to the data.
        standard: the default recipe; settings that differ from it are marked.
        whose: owner of the default recipe, in the possessive form.
        without: names of settings to leave out.
    """
    help_texts, kind = explained(type(chosen)), type(chosen)
    groups = {group: [name for name in names if name not in without] for group, names in grouped(kind).items()}
    shown = [name for names in groups.values() for name in names]
    differing = [name for name in shown if getattr(chosen, name) != getattr(standard, name)]
    count = f"{len(differing) or 'None'} of {len(shown)} settings {'differs' if len(differing) == 1 else 'differ'}"
    yield f"<p>{count} from {whose} defaults{'; underlined here' if differing else ''}.</p>"
    rows = []
    for group, names in groups.items():
        for place, name in enumerate(names):
            setting = f'<span title="{text(help_texts[name])}">{text(name)}</span>'
            own, adapted, default = (getattr(recipe, name) for recipe in (chosen, settled, standard))
            notes = [f"default: {_value(default)}"] if own != default else []
            notes += [f"adapted to the dataset; requested: {_value(own)}"] if adapted != own else []
            value = text(_value(adapted))
            marked = f"<mark>{value}</mark>" if name in differing else value
            below = f"<br><small>{text('; '.join(notes))}</small>" if notes else ""
            rows.append(("" if place else f"<b>{text(group)}</b>", setting, marked + below))
    yield f'<div class="recipe">{table(("", "setting", "value"), rows)}</div>'


def _value(value: object) -> str:
    return "automatic" if value is None else str(value)


def labels(run: Trained) -> Iterator[str]:
    """Yield the sizes of the datasets, the labels of each class, and the errors of skipped samples as HTML."""
    task = run.model.definition
    sets = {"training": run.dataset} if run.validation is None else {"training": run.dataset, "validation": run.validation}
    rows = [(what, text(found.name), f"{len(found):,}", f"{len(found.classes):,}") for what, found in sets.items()]
    yield table(("", "data", "samples", "identities" if task.data.open_set else "classes"), rows, right=[2, 3])
    closed = {what: found for what, found in sets.items() if what == "training" or not task.data.open_set}
    targets = {what: [record.target for record in found.records if record.target is not None] for what, found in closed.items()}
    counts = {what: Counter(label for target in found for label in task.data.labels(target)) for what, found in targets.items()}
    names = run.dataset.classes
    if names:
        entries: tuple[tuple[str | float, ...], ...] = tuple(
            (name, *(count[index] for count in counts.values())) for index, name in enumerate(names)
        )
        yield from tables.given(Table("Labels per class", ("class", *counts), entries))
    if run.skipped:
        yield f"<h3>Skipped</h3>{tables.left_out(run.skipped)}"
