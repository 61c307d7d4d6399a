"""The `zoo compare` command."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from zoo.cli.context import print_json, progress_of
from zoo.cli.flags import BatchSize, EvaluationData, RunFlags, Workers
from zoo.errors import InputError
from zoo.evaluation.intervals import REPLICATES

if TYPE_CHECKING:
    from zoo.data.dataset import Dataset
    from zoo.system.progress import Progress
    from zoo.task.metric import Scores


@dataclass(frozen=True)
class CompareFlags:
    """Flags of `zoo compare`."""

    a: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="A")]
    """First side of the comparison: the folder of a run or model, or a prediction file. Several comma-separated paths are
    treated as repeated runs, and their scores are averaged."""
    b: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="B")]
    """Second side of the comparison, in the same form as A."""
    data: EvaluationData
    task: str | None = None
    """Task; required for prediction files, otherwise taken from the models."""
    multi_label: bool = False
    """Classification only: the prediction files are those of multi-label models."""
    replicates: int = REPLICATES
    """Number of bootstrap replicates for the 95 % confidence intervals."""
    batch_size: BatchSize = None
    workers: Workers = None


@dataclass(frozen=True)
class Flags:
    """Evaluate two models or prediction files on the same samples, and print the difference B − A with its 95 % confidence interval."""

    main: Annotated[tyro.conf.OmitArgPrefixes[CompareFlags], tyro.conf.arg(name="compare", help="")]
    run: Annotated[tyro.conf.OmitArgPrefixes[RunFlags], tyro.conf.arg(name="general")]


def run(flags: Flags) -> int:
    """Run the command and return its exit status."""
    from zoo.cli.tables import print_comparison
    from zoo.evaluation.comparison import compare
    from zoo.task.contract import get_task

    with progress_of(flags.run.quiet) as progress:
        sides = [_named(side) for side in (flags.main.a, flags.main.b)]
        kinds = [_kind(path, flags.main) for side in sides for path in side]
        tasks = {name for name, _ in kinds}
        if len(tasks) > 1:
            raise InputError(f"the two sides have different tasks ({', '.join(sorted(tasks))}); only the same task can be compared")
        task, *others = (get_task(*kind) for kind in kinds)
        if any(other is not task for other in others):
            raise InputError(
                f"the two sides have different variants of the task {task.name}; only the same variant can be compared. "
                "Prediction files of multi-label models need --multi-label"
            )
        pictures = any(path.is_dir() for side in sides for path in side)  # prediction files are scored without the images
        data = task.open(flags.main.data, flags.run.on_error, progress.say, pictures)
        a, b = ([_scores(path, kinds[0], data, flags, progress) for path in side] for side in sides)
    comparison = compare(a, b)
    if flags.run.json:
        print_json(comparison.to_dict())
    else:
        print_comparison(comparison, flags.main.a, flags.main.b)
    return 0


def _named(side: str) -> list[Path]:
    paths = [Path(part.strip()).expanduser() for part in side.split(",") if part.strip()]
    if not paths:
        raise InputError(f"a side of the comparison is {side!r}; expected the folder of a run or model, or a prediction file")
    for path in paths:
        if not path.exists():
            raise InputError(f"{path} does not exist; expected the folder of a run or model, or a prediction file")
    return paths


def _kind(path: Path, main: CompareFlags) -> tuple[str, Mapping[str, Any]]:
    """Return the name of the task of a model or prediction file, and the options that select the variant of the task."""
    from zoo.models.config import model_folder, read_description

    if path.is_dir():
        config = read_description(model_folder(path))[0]
        return config.task, config.options
    if main.task is None:
        raise InputError(f"{path} is a prediction file; pass its task with --task")
    return main.task, {"multi_label": True} if main.multi_label else {}


def _scores(path: Path, kind: tuple[str, Mapping[str, Any]], data: Dataset, flags: Flags, progress: Progress) -> Scores:
    from zoo.evaluation.evaluate import evaluate, evaluate_predictions
    from zoo.models.archive import load

    main, run = flags.main, flags.run
    if path.is_file():
        return evaluate_predictions(
            path, kind[0], data, options=kind[1], on_error=run.on_error, replicates=main.replicates, progress=progress
        )
    sizes: dict[str, Any] = {"batch_size": main.batch_size, "workers": main.workers, "replicates": main.replicates}
    return evaluate(load(path), data, **sizes, **run.reading, progress=progress)
