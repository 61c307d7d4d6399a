"""The `zoo compare` command."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from zoo.cli.context import print_json, progress_of
from zoo.cli.flags import CompareFlags, RunFlags
from zoo.errors import InputError

if TYPE_CHECKING:
    from zoo.data.dataset import Dataset
    from zoo.system.progress import Progress
    from zoo.task.metric import Scores


@dataclass(frozen=True)
class Flags:
    """Evaluate two models or prediction files on the same samples, and print the difference B − A with its 95 % confidence interval."""

    main: Annotated[tyro.conf.OmitArgPrefixes[CompareFlags], tyro.conf.arg(name="compare", help="")]
    run: Annotated[tyro.conf.OmitArgPrefixes[RunFlags], tyro.conf.arg(name="general")]


def run(flags: Flags) -> int:
    """Run the command and return its exit status.

    Raises:
        InputError: a model, the data or the predictions are invalid, or the two sides can't be compared.
    """
    from zoo.cli.tables import print_comparison
    from zoo.evaluation.comparison import compare
    from zoo.task.contract import get_task

    with progress_of(flags.run.quiet) as progress:
        sides = [_named(side) for side in (flags.main.a, flags.main.b)]
        tasks = {_task_name(path, flags.main.task) for side in sides for path in side}
        if len(tasks) > 1:
            raise InputError(f"the two sides have different tasks ({', '.join(sorted(tasks))}); only the same task can be compared")
        task = get_task(next(iter(tasks)))
        on_error: Any = "skip" if flags.run.skip_bad else "raise"
        pictures = any(path.is_dir() for side in sides for path in side)  # prediction files are scored without the images
        data = task.open(flags.main.data, on_error, progress.say, pictures)
        a, b = ([_scores(path, task.name, data, flags, progress) for path in side] for side in sides)
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


def _task_name(path: Path, given: str | None) -> str:
    from zoo.models.config import model_folder, read_description

    if path.is_dir():
        return read_description(model_folder(path))[0].task
    if given is None:
        raise InputError(f"{path} is a prediction file; pass its task with --task")
    return given


def _scores(path: Path, task: str, data: Dataset, flags: Any, progress: Progress) -> Scores:
    from zoo.evaluation.evaluate import evaluate, evaluate_predictions
    from zoo.models.archive import load

    on_error: Any = "skip" if flags.run.skip_bad else "raise"
    if path.is_file():
        return evaluate_predictions(path, task, data, on_error=on_error, replicates=flags.main.replicates, progress=progress)
    return evaluate(
        load(path),
        data,
        batch_size=flags.main.batch_size,
        workers=flags.main.workers,
        device=flags.run.device,
        on_error=on_error,
        exact=flags.run.exact,
        max_pixels=flags.run.max_pixels,
        replicates=flags.main.replicates,
        progress=progress,
    )
