"""The `zoo runs` command, which lists training runs in a table."""

from __future__ import annotations

import json
import math
import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from zoo.cli.context import print_json
from zoo.cli.flags import Json
from zoo.errors import InputError, UnknownNameError, ZooError

if TYPE_CHECKING:
    from rich.table import Table

_SHOWN = 8  # maximum number of settings per run in the table; --json contains all
_SETTINGS = 24  # minimum width of the settings column, in characters
_UNFOLDED = 10_000  # width of the table in characters if the output is a file or pipe, large enough that no line is wrapped
_WHOLE = ("loss", "time")  # columns whose cells are never wrapped


@dataclass(frozen=True)
class RunsFlags:
    """List the training runs in a folder, with their progress, their scores, and the settings in which they differ."""

    folder: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="[FOLDER]")] = Path("runs")
    """Folder that contains runs (subfolders are searched too), or the folder of a single run."""
    sort: str | None = None
    """Score to sort by, such as top1 (highest first, at the best epoch), or loss (lowest first); by default, runs are sorted by name."""
    json: Json = False


@dataclass(frozen=True)
class RunSummary:
    """Summary of a training run, read from its folder."""

    name: str  # path of the run's folder, relative to the listed folder
    task: str
    backbone: str
    data: str
    epochs: int  # number of finished epochs
    planned: int | None  # exceeds `epochs` if the run stopped early or is unfinished
    state: str  # "finished", or "unfinished" if the run was interrupted or is still running
    best: int  # epoch with the highest score, from 1; 0 if there are no scores
    score: str  # name of the score by which epochs are compared; several, joined by commas, for a model with several heads
    scores: Mapping[str, float | None]  # scores of the best epoch; empty without validation data
    loss: float | None  # training loss of the last finished epoch
    seconds: float | None  # wall-clock time; None for an unfinished run
    recipe: Mapping[str, Any]


def read_run(folder: Path) -> RunSummary:
    """Read the summary of a run from its folder, without loading the model or a checkpoint."""
    from zoo.models.config import ModelConfig  # slow to import, not needed for --help
    from zoo.training.history import best_epoch

    try:
        about = json.loads(_text(folder / "run.json"))
        config = ModelConfig.from_dict(about["model"])
        tasks = {name: head.definition for name, head in config.heads.items()}
        joint = len(tasks) > 1
        recipe = tomllib.loads(_text(folder / "recipe.toml"))
        if joint:
            heads = recipe.pop("heads")
            recipe |= {f"{name}.{setting}": value for name, own in heads.items() for setting, value in own.items()}
        metrics = folder / "metrics.jsonl"
        history = [json.loads(line) for line in _text(metrics).splitlines()] if metrics.is_file() else []
        description = folder / "model" / "model.json"
        training = json.loads(_text(description))["metadata"]["training"] if description.is_file() else None
        primary = [f"{name}/{task.scoring.primary_score}" if joint else task.scoring.primary_score for name, task in tasks.items()]
        # heads without validation data have no scores
        primary = [name for name in primary if not joint or any(name in entry.get("val", {}) for entry in history)]
        best = best_epoch(history, primary) or {}
        return RunSummary(
            folder.name,
            ", ".join(f"{name}={task.name}" if joint else task.name for name, task in tasks.items()),
            config.backbone,
            ", ".join(f"{name}={data}" for name, data in about["data"].items()) if joint else str(about["data"]),
            len(history),
            # unless early stopping is enabled, a finished run has all planned epochs; heads that only store features always train for one
            recipe.get("epochs") if training is None or recipe.get("early_stop") else len(history),
            "unfinished" if training is None else "finished",
            int(best.get("epoch", 0)),
            ", ".join(primary),
            dict(best.get("val", {})),
            float(history[-1]["loss"]) if history else None,
            None if training is None else training.get("seconds"),
            recipe,
        )
    except ZooError as error:
        raise InputError(f"{folder}: the run can't be read: {error}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{folder}: the run can't be read ({type(error).__name__}: {error})") from error


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} can't be read ({error})") from error


def find_runs(folder: Path) -> tuple[list[RunSummary], list[str]]:
    """Return the runs in a folder and its subfolders, sorted by name, and an error message for each run that can't be read."""
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; expected a folder that contains runs, such as runs")
    places = sorted(file.parent for pattern in ("run.json", "*/run.json", "*/*/run.json") for file in folder.glob(pattern))
    if not places:
        raise InputError(f"{folder} contains no runs (folders with a run.json); create one with zoo train")
    found: list[RunSummary] = []
    faults: list[str] = []
    for place in places:
        try:
            found.append(replace(read_run(place), name=str(place.relative_to(folder)) if place != folder else folder.name))
        except InputError as error:
            faults.append(str(error))
    return found, faults


def differing(runs: Sequence[RunSummary]) -> list[str]:
    """Return the settings in which runs of the same task differ, except for the numbers of epochs and steps."""
    found: dict[str, None] = {}
    for task in dict.fromkeys(run.task for run in runs):
        recipes = [run.recipe for run in runs if run.task == task]
        for name in dict.fromkeys(name for recipe in recipes for name in recipe if name not in ("epochs", "steps")):
            if any(recipe.get(name) != recipes[0].get(name) for recipe in recipes):
                found[name] = None
    return list(found)


def sort_runs(runs: Sequence[RunSummary], score: str) -> list[RunSummary]:
    """Return the runs sorted by a score of their best epoch, highest first, or by "loss", lowest first. Runs without it are last."""
    known = {"loss", *(name for run in runs for name in run.scores)}
    if score not in known:
        raise UnknownNameError("score of these runs", score, known)

    def place(run: RunSummary) -> tuple[bool, float]:
        value = run.loss if score == "loss" else run.scores.get(score)
        return value is None or value != value, (value or 0.0) if score == "loss" else -(value or 0.0)

    return sorted(runs, key=place)


def run(flags: RunsFlags) -> int:
    """Run the command and return its exit status: 1 if a run is damaged, otherwise 0."""
    runs, faults = find_runs(flags.folder)
    if flags.sort is not None:
        runs = sort_runs(runs, flags.sort)
    if flags.json:
        print_json({"runs": [_as_dict(run) for run in runs], "differing": differing(runs), "damaged": faults})
    else:
        _print(runs, faults, flags.sort)
    return 1 if faults else 0


def _as_dict(run: RunSummary) -> dict[str, Any]:
    """Return a run in the format of --json. NaN and infinity become null."""
    scores = {name: _finite(value) for name, value in run.scores.items()}
    return {**vars(run), "loss": _finite(run.loss), "scores": scores, "recipe": dict(run.recipe)}


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _print(runs: Sequence[RunSummary], faults: Sequence[str], sort: str | None) -> None:
    from rich.console import Console

    from zoo.cli.tables import number

    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _UNFOLDED
    columns: dict[str, list[str]] = {"run": [run.name for run in runs]}
    same: list[str] = []
    for title in ("task", "backbone", "data"):
        values = [str(getattr(run, title)) for run in runs]
        if len(set(values)) > 1:
            columns[title] = values
        else:
            same += [f"{title} {value}" for value in values[:1]]
    columns["epochs"] = [f"{run.epochs}/{run.planned}{'' if run.state == 'finished' else f' {run.state}'}" for run in runs]
    columns["best score"] = [_best(run) for run in runs]
    if sort is not None and sort != "loss" and any(run.score != sort for run in runs):
        columns[sort] = [number(run.scores.get(sort)) for run in runs]
    columns["loss"] = [number(run.loss) for run in runs]
    columns["time"] = [_time(run.seconds) for run in runs]
    settings = differing(runs)
    if settings:
        columns["settings"] = [_settings(run, settings) for run in runs]
    if same:
        console.print(", ".join(same))
    console.print(_table(columns, console.width))
    for fault in faults:
        console.print(f"damaged: {fault}")


def _table(columns: dict[str, list[str]], width: int) -> Table:
    """Return the table of runs. If the longest words don't fit, task, backbone and data share a column."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    if not _fits(columns, width):
        columns = _stacked(columns)
    fits = _fits(columns, width)
    table = Table(box=SIMPLE_HEAD)
    for title in columns:
        whole = title in _WHOLE
        least = _SETTINGS if title == "settings" else _longest(title, columns[title]) if fits else None
        table.add_column(title, overflow="fold", no_wrap=whole, justify="right" if whole else "left", min_width=least)
    for cells in zip(*columns.values(), strict=True):
        table.add_row(*cells)
    return table


def _fits(columns: Mapping[str, Sequence[str]], width: int) -> bool:
    """Return whether a table has room for the longest word of each column; cells have a margin on both sides."""
    longest = (_longest(title, cells) for title, cells in columns.items())
    return sum(longest) <= width - 3 * len(columns) - 1


def _longest(title: str, cells: Sequence[str]) -> int:
    return max((len(word) for cell in (title, *cells) for word in cell.split()), default=0)


def _stacked(columns: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """Return the columns of a table with task, backbone and data below each other in one column."""
    titles = [title for title in ("task", "backbone", "data") if title in columns]
    if len(titles) < 2:
        return dict(columns)
    joined = {", ".join(titles): ["\n".join(cells) for cells in zip(*(columns[title] for title in titles), strict=True)]}
    return {"run": columns["run"], **joined, **{title: cells for title, cells in columns.items() if title not in ("run", *titles)}}


def _best(run: RunSummary) -> str:
    values = {name: run.scores.get(name) for name in run.score.split(", ")}
    shown = ", ".join(f"{name} {value:.4f}" for name, value in values.items() if value is not None)
    return f"{shown} (epoch {run.best})" if shown else "–"


def _settings(run: RunSummary, names: Sequence[str]) -> str:
    """Return a run's values of the given settings as text, without settings missing from its recipe, which were chosen automatically."""
    own = [name for name in names if name in run.recipe]
    return ", ".join(f"{name} {run.recipe[name]}" for name in own[:_SHOWN]) + (", …" if len(own) > _SHOWN else "")


def _time(seconds: float | None) -> str:
    return "–" if seconds is None else f"{seconds:.0f} s" if seconds < 600 else f"{seconds / 60:.0f} min"
