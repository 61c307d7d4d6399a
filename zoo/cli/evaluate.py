"""The `zoo eval` command."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from zoo.cli.context import class_list, compiled, print_json, progress_of, saved_or_built, task_flags
from zoo.cli.flags import EngineFlags, EvalFlags, combine
from zoo.errors import InputError

if TYPE_CHECKING:
    from zoo.models.model import Model
    from zoo.system.progress import Progress
    from zoo.task.metric import Scores


def flags_of(words: list[str]) -> type[Any]:
    """Return the flags of the command, which depend on the task."""
    task = task_flags(words)
    return combine("Eval", EvalFlags, task, scoring=task.scoring, answers=True)


def run(flags: Any) -> int:
    """Run the command and return its exit status.

    Raises:
        InputError: a flag, the model, the data or the predictions are invalid.
    """
    if flags.main.replicates < 0:
        raise InputError(f"--replicates is {flags.main.replicates}; expected 0 or more")
    _check_robustness(flags.main)
    if flags.main.corruptions or flags.main.attack is not None:
        return _robustness(flags)
    if flags.main.report is not None and flags.main.report.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"--report is {flags.main.report}; expected a file name that ends in .html")
    with progress_of(flags.run.quiet) as progress:
        models = _models(flags, progress)
        scores = _score(flags, models, progress)
        if flags.run.json:
            print_json(scores.to_dict())
        else:
            from zoo.cli.tables import print_scores

            print_scores(scores)
        if flags.main.report is not None:  # last, so that the scores are printed even if the report fails
            _report(flags, scores, models[0] if len(models) == 1 else None, flags.task_name, progress)
    return 0


def _robustness(flags: Any) -> int:
    """Evaluate under corruptions or an attack, print the result, and return the exit status."""
    from zoo.cli.tables import print_attacked, print_corruptions

    if flags.main.corruptions and flags.main.attack is not None:
        raise InputError("--corruptions and --attack can't be combined; pass only one of them")
    if flags.main.report is not None:
        raise InputError("--report covers only the scores on clean images; it can't be combined with --corruptions or --attack")
    if flags.main.predictions is not None or flags.main.save_predictions is not None:
        raise InputError("--corruptions and --attack run a model; they can't be combined with --predictions or --save-predictions")
    if len(flags.main.models) > 1 or _combines(flags):
        raise InputError(
            "--corruptions and --attack need a single model; they can't be combined with further models, --vote, --val or --tta"
        )
    if flags.main.align is not None:
        raise InputError("--corruptions and --attack can't be combined with --align; align the images first with zoo faces align")
    special = _corruption_settings(flags.main) if flags.main.corruptions else _attack_settings(flags.main)
    shared: dict[str, Any] = {
        "batch_size": flags.main.batch_size,
        "workers": flags.main.workers,
        "device": flags.run.device,
        "on_error": "skip" if flags.run.skip_bad else "raise",
        "replicates": flags.main.replicates,
        "metric_options": asdict(flags.scoring),
    }
    with progress_of(flags.run.quiet) as progress:
        built = saved_or_built(next(iter(flags.main.models), None), flags, progress)
        if flags.main.corruptions:
            from zoo.evaluation.robustness.sweep import evaluate_corruptions

            shared |= {"exact": flags.run.exact, "max_pixels": flags.run.max_pixels}
            model, shared["precision"] = compiled(built, flags.engine, flags.run, flags.main.batch_size, progress)
            found = evaluate_corruptions(model, flags.main.data, progress=progress, **special, **shared)
        else:
            from zoo.evaluation.robustness.attacked import attack_evaluate

            if flags.engine != EngineFlags():
                raise InputError("--attack needs gradients in float32; it can't be combined with --engine or --precision")
            found = attack_evaluate(built, flags.main.data, flags.main.attack, progress=progress, **special, **shared)
    if flags.run.json:
        print_json(found)
    elif flags.main.corruptions:
        print_corruptions(found)
    else:
        print_attacked(found)
    return 0


def _combines(flags: Any) -> bool:
    """Return whether flags for combining predictions (--tta, --vote, --val) are set."""
    return bool(flags.main.tta) or flags.main.vote != "soft" or flags.main.val is not None


def _check_robustness(main: Any) -> None:
    """Check that the settings of corruptions and attacks, such as --severities, are used only with --corruptions or --attack.

    Raises:
        InputError: a flag is set without the one it requires; the message names both.
    """
    belongs = {
        "--corruptions": (main.corruptions, {"--corruption-names": main.corruption_names, "--severities": main.severities}),
        "--attack": (main.attack is not None, {"--eps": main.eps, "--pairs": main.pairs}),
        "--attack pgd": (main.attack == "pgd", {"--steps": main.steps}),
    }
    for owner, (there, settings) in belongs.items():
        for flag, value in settings.items():
            if value is not None and not there:
                raise InputError(f"{flag} requires {owner}, which is not set")


def _corruption_settings(main: Any) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    if main.corruption_names is not None:
        settings["names"] = class_list(main.corruption_names)
    if main.severities is not None:
        words = class_list(main.severities) or []
        if not all(word.isascii() and word.isdecimal() for word in words):
            raise InputError(f"--severities is {main.severities!r}; expected numbers from 1 to 5, separated by commas, such as 1,3,5")
        settings["severities"] = [int(word) for word in words]
    return settings


def _attack_settings(main: Any) -> dict[str, Any]:
    eps = None if main.eps is None else _fraction(main.eps)
    return {name: value for name, value in (("eps", eps), ("steps", main.steps), ("pairs", main.pairs)) if value is not None}


def _fraction(text: str) -> float:
    """Parse a number such as 8/255 or 0.03.

    Raises:
        InputError: the text isn't a number or a fraction.
    """
    over, slash, under = text.partition("/")
    try:
        return float(over) / (float(under) if slash else 1.0)
    except (ValueError, ZeroDivisionError):
        raise InputError(f"--eps is {text!r}; expected a number or fraction, such as 0.03 or 8/255") from None


def _report(flags: Any, scores: Scores, model: Model | None, task: str, progress: Progress) -> None:
    """Write the report if this is the main process."""
    from accelerate import PartialState

    from zoo.report.document import write_report

    if PartialState().is_main_process:
        write_report(scores, flags.main.data, flags.main.report, model=model, task=task)
        progress.say(f"report: {flags.main.report}")


def _models(flags: Any, progress: Progress) -> list[Model]:
    """Return the models to evaluate, several of which form an ensemble; an empty list if a prediction file is evaluated."""
    if flags.main.predictions is None:
        return [saved_or_built(folder, flags, progress) for folder in flags.main.models or [None]]
    if flags.main.models or flags.build.backbone is not None:
        raise InputError("a model and --predictions can't be combined; pass only one of them")
    if flags.main.align is not None:
        raise InputError("--predictions can't be combined with --align, because prediction files are scored without the images")
    if _combines(flags):
        raise InputError("--predictions can't be combined with --vote, --val or --tta")
    return []


def _score(flags: Any, models: list[Model], progress: Progress) -> Scores:
    from zoo.evaluation.evaluate import evaluate, evaluate_predictions

    on_error: Any = "skip" if flags.run.skip_bad else "raise"
    if not models:
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
    templates = {model.preprocess.alignment for model in models} - {None}
    if templates and flags.main.align is None:
        names = " and ".join(sorted(map(str, templates)))
        progress.say(f"data {flags.main.data}: assuming that faces are already aligned to {names}; to align them, pass --align mtcnn")
    ready = [compiled(model, flags.engine, flags.run, flags.main.batch_size, progress) for model in models]
    return evaluate(
        [model for model, _ in ready],
        flags.main.data,
        vote=flags.main.vote,
        val=flags.main.val,
        tta=[name.strip() for names in flags.main.tta for name in names.split(",")],
        batch_size=flags.main.batch_size,
        workers=flags.main.workers,
        precision=ready[0][1],
        device=flags.run.device,
        on_error=on_error,
        exact=flags.run.exact,
        max_pixels=flags.run.max_pixels,
        replicates=flags.main.replicates,
        metric_options=asdict(flags.scoring),
        save_predictions=flags.main.save_predictions,
        progress=progress,
        align=flags.main.align,
    )
