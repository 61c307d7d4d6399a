"""The flags of every command: typed dataclasses that tyro turns into a command line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, make_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import tyro

from zoo.evaluation.intervals import REPLICATES
from zoo.images.headers import MAX_PIXELS
from zoo.task.flags import TaskFlags
from zoo.task.recipe import GROUPS, Recipe, explained, grouped


@dataclass(frozen=True)
class BuildFlags:
    """Which model to build."""

    task: str = "classification"
    """What the model is for; see: zoo list"""
    backbone: str | None = None
    """The trunk; see: zoo list "*" """
    weights: str | None = None
    """default, a name that zoo info BACKBONE shows, or a file or folder."""
    classes: str | None = None
    """Class names, separated by commas; without it those of the weights or the data."""


@dataclass(frozen=True)
class EngineFlags:
    """What computes the model."""

    engine: str = "eager"
    """eager, inductor, openvino or onnxruntime, or auto for the quickest of those installed, measured here once (on the CPU)."""
    precision: Literal["auto", "fp32", "bf16", "fp16", "int8"] = "auto"
    """Of the matrix work. auto is fp32 where the engine is eager, so that scores do not depend on the machine; elsewhere bf16 where the
    processor has it. int8 needs --calibration."""
    calibration: str | None = None
    """Pictures that a compiled model is compared, and int8 calibrated, on: scheme:path[?…], or a folder; by default a few built-in ones."""
    tune_seconds: float = 20.0
    """How long --engine auto may measure."""


@dataclass(frozen=True)
class RunFlags:
    """How to run."""

    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""
    skip_bad: bool = False
    """Leave out pictures that can't be read and annotations that can't be right, say which, and go on."""
    exact: bool = False
    """Decode every picture whole; otherwise JPEGs much larger than the model's input are decoded at a reduced scale."""
    max_pixels: int = MAX_PIXELS
    """Refuse larger pictures, before they are decoded."""
    quiet: bool = False
    """Show no progress."""
    json: bool = False
    """Print one JSON object on standard output, and nothing else there."""


@dataclass(frozen=True)
class TrainFlags:
    """Fine-tune a model on your pictures. A run folder holds recipe.toml, metrics.jsonl, checkpoints and the final model."""

    data: str
    """What to train on: scheme:path[?split=…&classes=…&limit=…&exact=true], or a path."""
    out: Path | None = None
    """The run's folder; by default runs/TASK-BACKBONE."""
    val: str | None = None
    """What to score on after every epoch."""
    align: str | None = None
    """Find the main face of each picture first, and align it to --alignment (face): mtcnn, or a detection model's folder."""
    recipe: str = "standard"
    """quick, standard, thorough, or a TOML file (a run's recipe.toml); single flags go before it."""
    resume: bool = False
    """Continue the run in --out from its last checkpoint; a process that torchrun has started again does so by itself."""
    checkpoint_minutes: float = 10.0
    """Minutes between two checkpoints within an epoch, which has one at its end anyway; 0 for one after every step."""
    track: str | None = None
    """Send loss, learning rate and scores to tensorboard (into the run's folder tensorboard/), wandb, mlflow …; several are separated
    by commas. Needs the extra [track], or the tracker's own package."""


@dataclass(frozen=True)
class EvalFlags:
    """Score a trained model (a run or model folder), several together, weights without a run (--backbone, --weights), or predictions."""

    data: str
    """What to score on: scheme:path[?split=…&classes=…&limit=…&exact=true], or a path."""
    models: tyro.conf.Positional[tuple[Path, ...]] = ()
    """A run's or saved model's folder; several answer together."""
    vote: Literal["soft", "hard", "weighted"] = "soft"
    """How several models' answers become one: mean of probabilities (fused boxes, mean of cosines), majority, or fitted weights."""
    val: str | None = None
    """What to fit the weights of --vote weighted on; not the data that is scored."""
    tta: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """Test-time augmentation: flip (mirror images), scales (other input sizes), or flip,scales."""
    predictions: Path | None = None
    """Score this file instead of a model: COCO results (detection), a table or JSON lines of logits, probabilities or labels, or .npz,
    a table or JSON lines of embeddings (face)."""
    align: str | None = None
    """Find the main face of each picture first, and align it as the model learned (face): mtcnn, or a detection model's folder."""
    save_predictions: Path | None = None
    """Write the model's answers into a file that --predictions reads."""
    report: Path | None = None
    """Write an HTML page: the scores, the confusion matrix, the curves, and the worst mistakes with their pictures."""
    corruptions: bool = False
    """Score on the fifteen common corruptions at five severities too, made here: the mean score and the relative drop."""
    corruption_names: str | None = None
    """Which of --corruptions, separated by commas: fog,frost; by default all fifteen."""
    severities: str | None = None
    """Which of --corruptions, from 1 to 5: 1,3,5; by default all five."""
    attack: Literal["fgsm", "pgd", "autoattack"] | None = None
    """Score under a white-box attack too: all three for classification, pgd for faces (extra [robustness])."""
    eps: str | None = None
    """The largest change of any value that --attack may make, as a part of 1; by default 8/255."""
    steps: int | None = None
    """Steps of the attack pgd; by default 20."""
    pairs: int | None = None
    """How many genuine, and how many impostor, pairs of faces --attack takes at most; by default 500."""
    replicates: int = REPLICATES
    """Bootstrap draws behind the 95 % intervals; 0 for no intervals."""
    batch_size: int | None = None
    """Pictures at once; by default what suits their size."""
    workers: int | None = None
    """Loader processes; by default what suits the machine."""


@dataclass(frozen=True)
class CompareFlags:
    """What is compared."""

    a: tyro.conf.Positional[str]
    """A run's or model's folder, or a file of predictions; several training runs are separated by commas."""
    b: tyro.conf.Positional[str]
    """Likewise."""
    data: str
    """What to score on: scheme:path[?split=…&classes=…&limit=…&exact=true], or a path."""
    task: str | None = None
    """Of files of predictions; models know theirs."""
    replicates: int = REPLICATES
    """Bootstrap draws behind the intervals."""
    batch_size: int | None = None
    """Pictures at once; by default what suits their size."""
    workers: int | None = None
    """Loader processes; by default what suits the machine."""


@dataclass(frozen=True)
class PredictFlags:
    """Answer for pictures, folders, videos or a camera (its number)."""

    inputs: tyro.conf.Positional[tuple[str, ...]]
    """MODEL SOURCE […]: a run's or model's folder, then what to look at; with --backbone only sources."""
    out: Path | None = None
    """Write the drawn pictures and predictions.jsonl into this folder."""
    batch_size: int | None = None
    """Pictures at once; by default what suits their size."""
    detector: str | None = None
    """What finds the faces that are aligned and embedded (face): mtcnn, a detection model's folder, or none for whole pictures."""
    faces: Literal["all", "largest", "central"] = "all"
    """Which of the faces found: all, or the main one of each picture."""


@dataclass(frozen=True)
class ExportFlags:
    """Write a model as a folder with graphs that other programs run, its classes and its preprocessing; zoo.load and zoo eval read it."""

    model: tyro.conf.Positional[Path | None] = None
    """A run's or saved model's folder; without it --backbone and --weights."""
    format: Literal["openvino", "onnx", "torch"] = "openvino"
    """OpenVINO's .xml and .bin (extra [openvino]), .onnx (extra [onnx]), or torch.export's .pt2."""
    out: Path | None = None
    """The folder; by default the model's name and the format, here."""
    precision: Literal["auto", "fp32", "bf16", "int8"] = "auto"
    """Of the matrix work; auto is bf16 where this processor has it and the format's engine too, else fp32. int8 needs --calibration."""
    calibration: str | None = None
    """Pictures that the graph is compared, and int8 calibrated, on: scheme:path[?…], or a folder; by default a few built-in ones."""


@dataclass(frozen=True)
class BenchFlags:
    """Measure accuracy, speed and memory of a suite, and write report.json."""

    suite: tyro.conf.Positional[str] = "quick"
    """A suite of the zoo, or a TOML file of yours."""
    out: Path = Path("bench")
    """Where the report goes."""
    engine: str | None = None
    """What computes every model, instead of what the suite says: eager, inductor, openvino, onnxruntime or auto."""
    precision: Literal["auto", "fp32", "bf16", "int8"] | None = None
    """Of the engine; int8 needs a suite whose cases say calibration."""
    json: bool = False
    """Print the report as one JSON object on standard output, and nothing else there."""


@dataclass(frozen=True)
class RunsFlags:
    """List the runs in a folder side by side: how far they came, their scores, and the settings in which they differ."""

    folder: tyro.conf.Positional[Path] = Path("runs")
    """A folder of runs, or of folders of runs, or one run."""
    sort: str | None = None
    """A score of the best epoch, such as top1 (the highest first), or loss (the lowest first); by default they stand in order of name."""
    json: bool = False
    """Print one JSON object on standard output, and nothing else there."""


@dataclass(frozen=True)
class ListFlags:
    """List the backbones that match a pattern, and the tasks."""

    pattern: tyro.conf.Positional[str] = "*"
    """A shell pattern, such as "resnet*"."""
    json: bool = False
    """Print one JSON object on standard output, and nothing else there."""


@dataclass(frozen=True)
class InfoFlags:
    """Describe a backbone, a task or a saved model."""

    name: tyro.conf.Positional[str]
    """A backbone's or task's name, or a folder."""
    json: bool = False
    """Print one JSON object on standard output, and nothing else there."""


def parse(kind: type[Any], command: str, argv: list[str]) -> Any:
    """Read the flags of a command.

    Args:
        kind: a dataclass of flags.
        command: its name, for the help.
        argv: what stands after the command.
    """
    settings = (tyro.conf.FlagCreatePairsOff, tyro.conf.OmitSubcommandPrefixes)
    return tyro.cli(kind, prog=f"zoo {command}", args=argv, config=settings, description=kind.__doc__)


def combine(
    name: str,
    main: type[Any],
    task: TaskFlags,
    recipe: Recipe | None = None,
    scoring: type[Any] | None = None,
    answers: bool = False,
) -> type[Any]:
    """Return one dataclass with the flags of a command, of building, of running, of the task's options and of its recipe.

    Its attributes are `main`, `build`, `run`, `options` and, where they are given, `recipe`, with that recipe's values as defaults, and
    `scoring`; where the command is about a model's `answers`, also `engine`.
    """
    flat = tyro.conf.OmitArgPrefixes
    parts: list[Any] = [
        ("main", Annotated[flat[main], tyro.conf.arg(name=name.lower())]),
        ("build", flat[BuildFlags], field(default_factory=BuildFlags)),
        ("run", flat[RunFlags], field(default_factory=RunFlags)),
        ("options", Annotated[flat[task.options], tyro.conf.arg(name="model", help="")], field(default_factory=task.options)),
    ]
    if answers:
        parts.insert(3, ("engine", flat[EngineFlags], field(default_factory=EngineFlags)))
    kind: Any = type(recipe)
    groups = {} if recipe is None else grouped(kind)
    if recipe is not None:
        parts += [(f"recipe_{group}", *_group(recipe, group, names)) for group, names in groups.items()]
    if scoring is not None:
        parts.append(("scoring", flat[scoring], field(default_factory=scoring)))

    def settled(flags: Any) -> Any:
        """Put the recipe together from its groups.

        Raises:
            InputError: settings that can't work.
        """
        found = {setting: getattr(getattr(flags, f"recipe_{group}"), setting) for group, names in groups.items() for setting in names}
        return kind(**found)

    namespace = {"task_name": task.name, **({"recipe": property(settled)} if groups else {})}
    combined = make_dataclass(name, parts, frozen=True, namespace=namespace)
    combined.__doc__ = main.__doc__
    return combined


def _group(recipe: Recipe, group: str, names: Sequence[str]) -> tuple[Any, Any]:
    """Return a part for `combine` that holds some of a recipe's settings, flags without a prefix, under a heading of their own."""
    types, said = get_type_hints(type(recipe)), explained(type(recipe))
    settings: list[Any] = [
        (name, Annotated[types[name], tyro.conf.arg(help=said[name])], field(default=getattr(recipe, name))) for name in names
    ]
    part: Any = make_dataclass(group, settings, frozen=True)
    part.__doc__ = GROUPS.get(group, "")
    flat: Any = tyro.conf.OmitArgPrefixes
    return Annotated[flat[part], tyro.conf.arg(name=group)], field(default_factory=part)
