"""The `zoo train` command."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.cli.context import class_list, given, print_json, progress_of, task_flags, value_of
from zoo.cli.flags import combine
from zoo.cli.jointtrain import flags_of_heads, heads_of, train_heads
from zoo.errors import InputError
from zoo.system.wording import counted
from zoo.task.recipe import find_recipe

if TYPE_CHECKING:
    from zoo.task.metric import Scores
    from zoo.training.train import Run


@dataclass(frozen=True)
class TrainFlags:
    """Fine-tune a model on your images. The run folder will contain recipe.toml, metrics.jsonl, checkpoints and the final model."""

    data: str
    """Training data: a path, or a dataset string scheme:path[?split=…&classes=…&limit=…&exact=true]."""
    out: Path | None = None
    """Folder of the run; by default runs/TASK-BACKBONE."""
    val: str | None = None
    """Validation data, scored after every epoch; by default there is no validation."""
    align: str | None = None
    """Face task only: detect the main face of each image with this detector (mtcnn, or the folder of a detection model) and align it. By
    default, images are not aligned."""
    recipe: str = "standard"
    """Training settings: quick, standard, thorough, or a TOML file, such as a run's recipe.toml. Flags for individual settings take
    precedence."""
    resume: bool = False
    """Continue the run in --out from its last checkpoint. Automatic after a restart by torchrun."""
    checkpoint_minutes: float = 10.0
    """Minutes between checkpoints within an epoch; 0 saves one after every step. A checkpoint is also saved at the end of every epoch."""
    track: str | None = None
    """Comma-separated experiment trackers to log loss, learning rate and scores to: tensorboard (writes to tensorboard/ in the run folder),
    wandb, mlflow, …. The tracker tensorboard requires the [track] extra; others require their own package. By default, no tracker is
    used."""


def flags_of(words: list[str]) -> type[Any]:
    """Return the flags of the command. They depend on the task or tasks, and their defaults on the recipe."""
    tasks = heads_of(words)
    if tasks:
        return flags_of_heads(tasks, words)
    task = task_flags(words)
    return combine(TrainFlags, task, find_recipe(task.recipe, task.recipes, value_of("--recipe", words)))


def run(flags: Any) -> int:
    """Run the command and return its exit status."""
    run = train_heads(flags) if hasattr(flags, "tasks") else _train(flags)
    scores = run.scores or {}
    summary = {
        "folder": str(run.folder),
        "model": str(run.folder / "model"),
        "epochs": len(run.history),
        "loss": run.history[-1]["loss"] if run.history else None,
        "scores": {name: dict(own) for name, own in scores.items()} if run.model.is_joint else dict(scores),
        **({"alone": {name: dict(own) for name, own in run.alone.items()}} if run.alone else {}),
        "skipped": [fault.to_dict() for fault in run.skipped],
        **({"hub": start} if (start := run.model.metadata["training"].get("hub")) else {}),
        "not_finite": run.not_finite,
        "seconds": round(run.seconds, 3),
    }
    if flags.run.json:
        print_json(summary)
    else:
        print(f"trained for {counted(len(run.history), 'epoch')} in {run.seconds:.0f} s; model saved in {run.folder / 'model'}")
        if run.not_finite:
            lost = counted(run.not_finite, "batch", "batches")
            print(f"skipped: {lost} whose loss wasn't finite (--on-nan skip); their samples are listed above")
        for name, alone in run.alone.items():
            primary = run.model.config.heads[name].definition.scoring.primary_score
            print(f"{name}: {primary} {_with_interval(scores[name], primary)} jointly, {_with_interval(alone, primary)} alone")
        print(f"score it with: zoo eval {run.folder} --data …")
    return 0


def _with_interval(scores: Scores, name: str) -> str:
    value, bounds = scores.scores.get(name), scores.intervals.get(name)
    shown = "undefined" if value is None else f"{value:.4f}"
    return shown if bounds is None else f"{shown} [{bounds[0]:.4f}, {bounds[1]:.4f}]"


def _train(flags: Any) -> Run:
    """Build a model with one head, train it, and return the run."""
    import torch

    from zoo.models.builder import build
    from zoo.task.contract import get_task
    from zoo.training.train import train

    task = get_task(flags.task_name, asdict(flags.options))
    if flags.build.backbone is None:
        raise InputError("no backbone given; pass --backbone, such as --backbone resnet18 (zoo list prints all names)")
    with progress_of(flags.run.quiet) as progress:
        data = task.open(flags.main.data, flags.run.on_error, progress.say)
        torch.manual_seed(flags.recipe.seed)  # for the random initialisation of new parameters
        classes = flags.build.class_names or data.classes or None
        model = build(
            flags.build.backbone, task.name, classes=classes, weights=flags.build.weights, licence_policy=flags.build.licence_policy,
            say=progress.say, **given(flags.options),
        )  # fmt: skip
        out = flags.main.out or Path("runs") / f"{task.name}-{flags.build.backbone}"
        return train(
            model, data, flags.main.val, flags.recipe, out,
            resume=flags.main.resume, checkpoint_minutes=flags.main.checkpoint_minutes, track=class_list(flags.main.track) or (),
            progress=progress, align=flags.main.align, **flags.run.reading,
        )  # fmt: skip
