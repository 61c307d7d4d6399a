"""`zoo eval`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from zoo.arguments import EvalFlags, choices, combine, parse
from zoo.command import class_list, print_json, progress_of, saved_or_built, task_of
from zoo.errors import InputError

if TYPE_CHECKING:
    from zoo.progress import Progress
    from zoo.scores import Scores


def run(words: list[str]) -> int:
    """Run the command, and return its exit status.

    Raises:
        InputError: a flag, the model, the data or the predictions are wrong.
    """
    task = task_of(words)
    flags = parse(combine("Eval", EvalFlags, task.options, scoring=choices("Scoring", task.metric_options)), "eval", words)
    if flags.main.replicates < 0:
        raise InputError(f"--replicates is {flags.main.replicates}; expected 0 or more")
    with progress_of(flags.run.quiet) as progress:
        scores = _score(flags, progress)
    if flags.run.json:
        print_json(scores.to_dict())
    else:
        from zoo.tables import print_scores

        print_scores(scores)
    return 0


def _score(flags: Any, progress: Progress) -> Scores:
    from zoo.evaluation import evaluate, evaluate_predictions

    on_error: Any = "skip" if flags.run.skip_bad else "raise"
    if flags.main.predictions is not None:
        if flags.main.model is not None or flags.build.backbone is not None:
            raise InputError("both a model and --predictions are given; give one of them")
        return evaluate_predictions(
            flags.main.predictions,
            flags.build.task,
            flags.main.data,
            classes=tuple(class_list(flags.build.classes) or ()),
            on_error=on_error,
            replicates=flags.main.replicates,
            metric_options=asdict(flags.scoring),
            progress=progress,
        )
    return evaluate(
        saved_or_built(flags.main.model, flags, progress),
        flags.main.data,
        batch_size=flags.main.batch_size,
        workers=flags.main.workers,
        precision=flags.main.precision,
        device=flags.run.device,
        on_error=on_error,
        exact=flags.run.exact,
        max_pixels=flags.run.max_pixels,
        replicates=flags.main.replicates,
        metric_options=asdict(flags.scoring),
        save_predictions=flags.main.save_predictions,
        progress=progress,
    )
