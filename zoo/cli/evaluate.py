"""The `zoo eval` command."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from zoo.cli.context import class_list, command_line, compiled, given, print_json, progress_of, saved_or_built, task_flags
from zoo.cli.flags import BatchSize, EngineFlags, EvaluationData, Workers, combine
from zoo.cli.heads import check_data, head_values
from zoo.errors import InputError
from zoo.evaluation.intervals import REPLICATES

if TYPE_CHECKING:
    from zoo.models.model import Model
    from zoo.system.progress import Progress


@dataclass(frozen=True)
class EvalFlags:
    """Evaluate trained models (folders of runs or models), a backbone with weights (--backbone, --weights), or a prediction file."""

    data: EvaluationData
    models: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="[MODEL…]", help_behavior_hint="")] = ()
    """Folders of runs or saved models, or repositories of the Hub (hf:OWNER/NAME). Several models are evaluated as an ensemble."""
    vote: Literal["soft", "hard", "weighted"] = "soft"
    """How to combine an ensemble's predictions. soft: mean of the probabilities (classification), fused boxes (detection) or mean cosine
    similarity (face); hard (classification only): majority vote; weighted (classification only): mean with weights fitted on --val."""
    val: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Validation data used to fit the weights; required by --vote weighted. Must differ from --data. For a model with several heads:
    NAME=DATA, as for --data."""
    tta: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """Test-time augmentation: "flip" (horizontal flips), "scales" (other input sizes), or both as "flip,scales"."""
    predictions: Path | None = None
    """Evaluate this prediction file instead of a model. Detection: COCO results. Classification: a table or JSON Lines file of logits,
    probabilities or labels. Face: a table, JSON Lines or .npz file of embeddings."""
    align: str | None = None
    """Face task only: detect the main face of each image with this detector (mtcnn, or the folder of a detection model) and align it, as in
    training. By default, images are not aligned."""
    save_predictions: Path | None = None
    """Save the model's predictions to this file, in the format that --predictions reads; for a model with several heads, to a folder with
    one file per head."""
    report: Path | None = None
    """Write an HTML report to this file, with scores, confusion matrix, curves, and the images with the worst errors."""
    corruptions: bool = False
    """Also evaluate on images with 15 common corruptions at 5 severities, and print the mean score and its relative drop."""
    corruption_names: str | None = None
    """Corruptions to apply, separated by commas, such as fog,frost; by default all 15. Requires --corruptions."""
    severities: str | None = None
    """Severities of the corruptions, from 1 to 5, separated by commas, such as 1,3,5; by default all five. Requires --corruptions."""
    attack: Literal["fgsm", "pgd", "autoattack"] | None = None
    """Also evaluate under this white-box attack: any of the three for classification, pgd for face. Requires the [robustness] extra."""
    eps: str | None = None
    """Maximum perturbation (L∞) of --attack, for pixel values in [0, 1]; default 8/255."""
    steps: int | None = None
    """Number of steps of --attack pgd; default 20."""
    pairs: int | None = None
    """Face task only: maximum number of genuine pairs, and of impostor pairs, for --attack; default 500."""
    replicates: int = REPLICATES
    """Number of bootstrap replicates for the 95 % confidence intervals; 0 disables the intervals."""
    batch_size: BatchSize = None
    workers: Workers = None


def flags_of(words: list[str]) -> type[Any]:
    """Return the flags of the command, which depend on the task."""
    return combine(EvalFlags, task_flags(words), scoring=True, engine=True)


def run(flags: Any) -> int:
    """Run the command and return its exit status."""
    if flags.main.replicates < 0:
        raise InputError(f"--replicates is {flags.main.replicates}; expected 0 or more")
    check_data(flags.main.data)
    _check_robustness(flags.main)
    if flags.main.corruptions or flags.main.attack is not None:
        return _robustness(flags)
    if flags.main.report is not None and flags.main.report.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"--report is {flags.main.report}; expected a file name that ends in .html")
    with progress_of(flags.run.quiet) as progress:
        from zoo.cli.tables import print_scores

        models = _models(flags, progress)
        data = _by_head("--data", flags.main.data, models, flags)
        scores = _score(flags, models, data, progress)
        _show(scores, data, print_scores, lambda own: {**own.to_dict(), "command": command_line()}, flags.run.json)
        if flags.main.report is not None:  # last, so that the scores are printed even if the report fails
            _report(flags, scores, data, models, progress)
    return 0


def _by_head(flag: str, values: tuple[str, ...], models: list[Model], flags: Any) -> Any:
    """Return the value of a flag that may be passed once per head; see `head_values`. Files of predictions belong to one head."""
    from zoo.models.heads import head_data

    if models:
        return head_values(flag, values, [*models[0].config.heads])
    task = flags.build.task
    return head_data([task], head_values(flag, values, [task]))[task]


def _show(found: Any, data: object, show: Callable[[Any], None], content: Callable[[Any], dict[str, Any]], as_json: bool) -> None:
    """Print a result, or those of several heads if `data` is a mapping, as tables with `show`, or as JSON."""
    if not isinstance(data, Mapping):
        print_json(content(found)) if as_json else show(found)
    elif as_json:
        print_json({name: content(own) for name, own in found.items()})
    else:
        for name, own in found.items():
            print(f"{name}:")
            show(own)


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
    settings = _corruption_settings(flags.main) if flags.main.corruptions else _attack_settings(flags.main)
    settings |= _sizes(flags)
    with progress_of(flags.run.quiet) as progress:
        built = saved_or_built(next(iter(flags.main.models), None), flags, progress)
        data = _by_head("--data", flags.main.data, [built], flags)
        if flags.main.corruptions:
            from zoo.evaluation.robustness.sweep import evaluate_corruptions

            model, precision = compiled(built, flags.engine, flags.run, flags.main.batch_size, progress)
            settings |= {"precision": precision, **flags.run.reading}
            found = evaluate_corruptions(model, data, progress=progress, **settings)
        else:
            from zoo.evaluation.robustness.attacked import attack_evaluate

            if flags.engine != EngineFlags():
                raise InputError("--attack needs gradients in float32; it can't be combined with --engine or --precision")
            settings |= {"device": flags.run.device, "on_error": flags.run.on_error}
            found = attack_evaluate(built, data, flags.main.attack, progress=progress, **settings)
    _show(found, data, print_corruptions if flags.main.corruptions else print_attacked, dict, flags.run.json)
    return 0


def _sizes(flags: Any) -> dict[str, Any]:
    """Return the keywords that the functions for clean, corrupted and attacked images share."""
    main = flags.main
    options = given(flags.scoring)
    return {"batch_size": main.batch_size, "workers": main.workers, "replicates": main.replicates, "metric_options": options}


def _combines(flags: Any) -> bool:
    """Return whether flags for combining predictions (--tta, --vote, --val) are set."""
    return bool(flags.main.tta) or flags.main.vote != "soft" or bool(flags.main.val)


def _check_robustness(main: Any) -> None:
    """Raise an `InputError` if a setting such as --severities is used without --corruptions or --attack."""
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
    names, severities = class_list(main.corruption_names), class_list(main.severities)
    if not all(word.isascii() and word.isdecimal() for word in severities or ()):
        raise InputError(f"--severities is {main.severities!r}; expected numbers from 1 to 5, separated by commas, such as 1,3,5")
    return _given(names=names, severities=None if severities is None else [int(word) for word in severities])


def _attack_settings(main: Any) -> dict[str, Any]:
    return _given(eps=None if main.eps is None else _fraction(main.eps), steps=main.steps, pairs=main.pairs)


def _given(**settings: Any) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if value is not None}


def _fraction(text: str) -> float:
    """Parse a number such as 8/255 or 0.03."""
    over, slash, under = text.partition("/")
    try:
        return float(over) / (float(under) if slash else 1.0)
    except (ValueError, ZeroDivisionError):
        raise InputError(f"--eps is {text!r}; expected a number or fraction, such as 0.03 or 8/255") from None


def _report(flags: Any, scores: Any, data: Any, models: list[Model], progress: Progress) -> None:
    """Write the report if this is the main process."""
    from accelerate import PartialState

    from zoo.report.document import write_report

    if PartialState().is_main_process:
        if len(models) == 1:
            write_report(scores, data, flags.main.report, model=models[0])
        elif models and models[0].is_joint:
            heads = models[0].config.heads
            tasks, options = {name: head.task for name, head in heads.items()}, {name: head.options for name, head in heads.items()}
            write_report(scores, data, flags.main.report, task=tasks, options=options)
        else:
            options = models[0].config.options if models else asdict(flags.options)
            write_report(scores, data, flags.main.report, task=flags.task_name, options=options)
        progress.say(f"report: {flags.main.report}")


def _models(flags: Any, progress: Progress) -> list[Model]:
    """Return the models to evaluate (more than one is treated as an ensemble), or an empty list if a prediction file is evaluated."""
    if flags.main.predictions is None:
        return [saved_or_built(folder, flags, progress) for folder in flags.main.models or [None]]
    if flags.main.models or flags.build.backbone is not None:
        raise InputError("a model and --predictions can't be combined; pass only one of them")
    if flags.main.align is not None:
        raise InputError("--predictions can't be combined with --align, because prediction files are scored without the images")
    if _combines(flags):
        raise InputError("--predictions can't be combined with --vote, --val or --tta")
    return []


def _score(flags: Any, models: list[Model], data: Any, progress: Progress) -> Any:
    """Return the scores, or a dict from head name to scores if `data` is a mapping."""
    from zoo.evaluation.evaluate import evaluate, evaluate_predictions
    from zoo.models.heads import head_data

    main = flags.main
    if not models:
        return evaluate_predictions(
            main.predictions, flags.build.task, data,
            classes=tuple(flags.build.class_names or ()), options=asdict(flags.options),
            on_error=flags.run.on_error, replicates=main.replicates,
            metric_options=given(flags.scoring), progress=progress,
        )  # fmt: skip
    if main.align is None:
        for name, own in head_data(models[0].config.heads, data).items():
            heads = [model.config.heads[name] for model in models if name in model.config.heads]
            if templates := {head.preprocess.alignment for head in heads} - {None}:
                names = " and ".join(sorted(map(str, templates)))
                progress.say(f"data {own}: assuming that faces are already aligned to {names}; to align them, pass --align mtcnn")
    ready = [compiled(model, flags.engine, flags.run, main.batch_size, progress) for model in models]
    return evaluate(
        [model for model, _ in ready],
        data,
        vote=main.vote,
        val=_by_head("--val", main.val, models, flags),
        tta=[name.strip() for names in main.tta for name in names.split(",")],
        precision=ready[0][1],
        save_predictions=main.save_predictions,
        progress=progress,
        align=main.align,
        **_sizes(flags),
        **flags.run.reading,
    )
