"""The `zoo eval` command."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from zoo.cli.context import class_list, compiled, print_json, progress_of, saved_or_built, task_flags
from zoo.cli.flags import BatchSize, EngineFlags, EvaluationData, Workers, combine
from zoo.errors import InputError
from zoo.evaluation.intervals import REPLICATES

if TYPE_CHECKING:
    from zoo.models.model import Model
    from zoo.system.progress import Progress
    from zoo.task.metric import Scores


@dataclass(frozen=True)
class EvalFlags:
    """Evaluate trained models (folders of runs or models), a backbone with weights (--backbone, --weights), or a prediction file."""

    data: EvaluationData
    models: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="[MODEL…]", help_behavior_hint="")] = ()
    """Folders of runs or saved models. Several models are evaluated as an ensemble."""
    vote: Literal["soft", "hard", "weighted"] = "soft"
    """How to combine an ensemble's predictions. soft: mean of the probabilities (classification), fused boxes (detection) or mean cosine
    similarity (face); hard (classification only): majority vote; weighted (classification only): mean with weights fitted on --val."""
    val: str | None = None
    """Validation data used to fit the weights; required by --vote weighted. Must differ from --data."""
    tta: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """Test-time augmentation: "flip" (horizontal flips), "scales" (other input sizes), or both as "flip,scales"."""
    predictions: Path | None = None
    """Evaluate this prediction file instead of a model. Detection: COCO results. Classification: a table or JSON Lines file of logits,
    probabilities or labels. Face: a table, JSON Lines or .npz file of embeddings."""
    align: str | None = None
    """Face task only: detect the main face of each image with this detector (mtcnn, or the folder of a detection model) and align it, as in
    training. By default, images are not aligned."""
    save_predictions: Path | None = None
    """Save the model's predictions to this file, in the format that --predictions reads."""
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
            _report(flags, scores, models, progress)
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
    settings = _corruption_settings(flags.main) if flags.main.corruptions else _attack_settings(flags.main)
    settings |= _sizes(flags)
    with progress_of(flags.run.quiet) as progress:
        built = saved_or_built(next(iter(flags.main.models), None), flags, progress)
        if flags.main.corruptions:
            from zoo.evaluation.robustness.sweep import evaluate_corruptions

            model, precision = compiled(built, flags.engine, flags.run, flags.main.batch_size, progress)
            settings |= {"precision": precision, **flags.run.reading}
            found = evaluate_corruptions(model, flags.main.data, progress=progress, **settings)
        else:
            from zoo.evaluation.robustness.attacked import attack_evaluate

            if flags.engine != EngineFlags():
                raise InputError("--attack needs gradients in float32; it can't be combined with --engine or --precision")
            settings |= {"device": flags.run.device, "on_error": flags.run.on_error}
            found = attack_evaluate(built, flags.main.data, flags.main.attack, progress=progress, **settings)
    show = print_json if flags.run.json else print_corruptions if flags.main.corruptions else print_attacked
    show(found)
    return 0


def _sizes(flags: Any) -> dict[str, Any]:
    """Return the keywords that the functions for clean, corrupted and attacked images share."""
    main = flags.main
    options = asdict(flags.scoring)
    return {"batch_size": main.batch_size, "workers": main.workers, "replicates": main.replicates, "metric_options": options}


def _combines(flags: Any) -> bool:
    """Return whether flags for combining predictions (--tta, --vote, --val) are set."""
    return bool(flags.main.tta) or flags.main.vote != "soft" or flags.main.val is not None


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


def _report(flags: Any, scores: Scores, models: list[Model], progress: Progress) -> None:
    """Write the report if this is the main process."""
    from accelerate import PartialState

    from zoo.report.document import write_report

    if PartialState().is_main_process:
        model = models[0] if len(models) == 1 else None
        options = models[0].config.options if models else asdict(flags.options)
        write_report(scores, flags.main.data, flags.main.report, model=model, task=flags.task_name, options=options)
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


def _score(flags: Any, models: list[Model], progress: Progress) -> Scores:
    from zoo.evaluation.evaluate import evaluate, evaluate_predictions

    main = flags.main
    if not models:
        return evaluate_predictions(
            main.predictions, flags.build.task, main.data,
            classes=tuple(flags.build.class_names or ()), options=asdict(flags.options),
            on_error=flags.run.on_error, replicates=main.replicates,
            metric_options=asdict(flags.scoring), progress=progress,
        )  # fmt: skip
    templates = {model.preprocess.alignment for model in models} - {None}
    if templates and main.align is None:
        names = " and ".join(sorted(map(str, templates)))
        progress.say(f"data {main.data}: assuming that faces are already aligned to {names}; to align them, pass --align mtcnn")
    ready = [compiled(model, flags.engine, flags.run, main.batch_size, progress) for model in models]
    return evaluate(
        [model for model, _ in ready],
        main.data,
        vote=main.vote,
        val=main.val,
        tta=[name.strip() for names in main.tta for name in names.split(",")],
        precision=ready[0][1],
        save_predictions=main.save_predictions,
        progress=progress,
        align=main.align,
        **_sizes(flags),
        **flags.run.reading,
    )
