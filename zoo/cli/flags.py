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
    """The model to build."""

    task: str = "classification"
    """Task of the model; see: zoo list"""
    backbone: str | None = None
    """Name of the backbone; see: zoo list "*" """
    weights: str | None = None
    """Weights: default, a name listed by zoo info BACKBONE, or a file or folder."""
    classes: str | None = None
    """Class names, separated by commas; by default those of the weights or the data."""


@dataclass(frozen=True)
class EngineFlags:
    """Inference engine and precision."""

    engine: str = "eager"
    """eager, inductor, openvino or onnxruntime, or auto for the fastest installed engine, measured once on this machine (CPU only)."""
    precision: Annotated[
        Literal["auto", "fp32", "bf16", "fp16", "int8"],
        tyro.conf.arg(  # help texts of several lines, because tyro keeps the line breaks of docstrings
            help="Precision of matrix multiplications. auto is fp32 for the engine eager, so that scores don't depend on the machine; for "
            "other engines, bf16 if the processor supports it, otherwise fp32. int8 needs --calibration."
        ),
    ] = "auto"
    calibration: str | None = None
    """Images for comparing the compiled model and calibrating int8: scheme:path[?…] or a folder; by default a few built-in ones."""
    tune_seconds: float = 20.0
    """Time limit for the measurements of --engine auto, in seconds."""


@dataclass(frozen=True)
class RunFlags:
    """Device, decoding and output."""

    device: str = "auto"
    """auto, cpu, cuda, cuda:1 or mps."""
    skip_bad: bool = False
    """Skip images that can't be read and invalid annotations, list them, and continue."""
    exact: bool = False
    """Decode all images at full size; otherwise JPEGs much larger than the model's input are decoded at a reduced scale."""
    max_pixels: int = MAX_PIXELS
    """Limit on width × height; larger images are refused before they are decoded."""
    quiet: bool = False
    """Show no progress."""
    json: bool = False
    """Print one JSON object, and nothing else, to standard output."""


@dataclass(frozen=True)
class TrainFlags:
    """Fine-tune a model on your images. The run folder contains recipe.toml, metrics.jsonl, checkpoints and the final model."""

    data: str
    """Training data: scheme:path[?split=…&classes=…&limit=…&exact=true], or a path."""
    out: Path | None = None
    """Folder of the run; by default runs/TASK-BACKBONE."""
    val: str | None = None
    """Validation data, scored after every epoch."""
    align: str | None = None
    """Detector of the main face of each image, which is aligned to --alignment (face): mtcnn, or the folder of a detection model."""
    recipe: str = "standard"
    """quick, standard, thorough, or a TOML file (such as a run's recipe.toml); flags for single settings take precedence."""
    resume: bool = False
    """Continue the run in --out from its last checkpoint; processes that torchrun restarts do so automatically."""
    checkpoint_minutes: float = 10.0
    """Minutes between checkpoints within an epoch, in addition to the one at its end; 0 for one after every step."""
    track: Annotated[
        str | None,
        tyro.conf.arg(
            help="Trackers that receive loss, learning rate and scores, separated by commas: tensorboard (writes to tensorboard/ in the "
            "run's folder), wandb, mlflow, …. Needs the extra [track], or the tracker's package."
        ),
    ] = None


@dataclass(frozen=True)
class EvalFlags:
    """Score trained models (folders of runs or models), a backbone with weights (--backbone, --weights), or a prediction file."""

    data: str
    """Data to score on: scheme:path[?split=…&classes=…&limit=…&exact=true], or a path."""
    models: tyro.conf.Positional[tuple[Path, ...]] = ()
    """Folder of a run or saved model; several are evaluated as an ensemble."""
    vote: Literal["soft", "hard", "weighted"] = "soft"
    """How the answers of several models are combined: mean of probabilities (fused boxes, mean of cosines), majority, or fitted weights."""
    val: str | None = None
    """Validation data for fitting the weights of --vote weighted; must differ from the scored data."""
    tta: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """Test-time augmentation: flip (horizontally flipped images), scales (other input sizes), or flip,scales."""
    predictions: Annotated[
        Path | None,
        tyro.conf.arg(
            help="Prediction file to score instead of a model: COCO results (detection); a table or JSON lines of logits, probabilities or "
            "labels (classification); .npz, a table or JSON lines of embeddings (face)."
        ),
    ] = None
    align: str | None = None
    """Detector of the main face of each image, which is aligned as in training (face): mtcnn, or the folder of a detection model."""
    save_predictions: Path | None = None
    """File to write the model's answers to, in the format that --predictions reads."""
    report: Path | None = None
    """HTML page to write, with scores, confusion matrix, curves, and the images of the worst mistakes."""
    corruptions: bool = False
    """Score on the fifteen common corruptions at five severities too, and print the mean score and its relative drop."""
    corruption_names: str | None = None
    """Names of the corruptions, separated by commas, such as fog,frost; by default all fifteen."""
    severities: str | None = None
    """Severities of the corruptions from 1 to 5, separated by commas, such as 1,3,5; by default all five."""
    attack: Literal["fgsm", "pgd", "autoattack"] | None = None
    """Score under a white-box attack too: any of the three for classification, pgd for faces (extra [robustness])."""
    eps: str | None = None
    """Largest change of any value that --attack may make, for values in 0–1; by default 8/255."""
    steps: int | None = None
    """Number of steps of --attack pgd; by default 20."""
    pairs: int | None = None
    """Maximum number of genuine and of impostor pairs of faces that --attack uses; by default 500 each."""
    replicates: int = REPLICATES
    """Number of bootstrap replicates for the 95 % intervals; 0 for no intervals."""
    batch_size: int | None = None
    """Images per batch; by default a size that suits the model's input."""
    workers: int | None = None
    """Number of loader processes; by default a number that suits the machine."""


@dataclass(frozen=True)
class CompareFlags:
    """The models or predictions to compare."""

    a: tyro.conf.Positional[str]
    """Side A: folder of a run or model, or a prediction file; several training runs are separated by commas."""
    b: tyro.conf.Positional[str]
    """Side B, in the same form."""
    data: str
    """Data to score on: scheme:path[?split=…&classes=…&limit=…&exact=true], or a path."""
    task: str | None = None
    """Task of prediction files; not needed for models."""
    replicates: int = REPLICATES
    """Number of bootstrap replicates for the intervals."""
    batch_size: int | None = None
    """Images per batch; by default a size that suits the model's input."""
    workers: int | None = None
    """Number of loader processes; by default a number that suits the machine."""


@dataclass(frozen=True)
class PredictFlags:
    """Predict on images, folders, videos or a camera (its number)."""

    inputs: tyro.conf.Positional[tuple[str, ...]]
    """MODEL SOURCE […]: the folder of a run or model, then the sources; with --backbone, only the sources."""
    out: Path | None = None
    """Folder to write annotated images and predictions.jsonl to."""
    batch_size: int | None = None
    """Images per batch; by default a size that suits the model's input."""
    detector: str | None = None
    """Detector of the faces to align and embed (face only): mtcnn, the folder of a detection model, or none for whole images."""
    faces: Literal["all", "largest", "central"] = "all"
    """Faces to answer for: all, or only the main one of each image."""


@dataclass(frozen=True)
class ExportFlags:
    """Export a model as a folder of graphs for other programs, with classes and preprocessing; zoo.load and zoo eval can read it too."""

    model: tyro.conf.Positional[Path | None] = None
    """Folder of a run or saved model; omit it to use --backbone and --weights."""
    format: Literal["openvino", "onnx", "torch"] = "openvino"
    """OpenVINO's .xml and .bin (extra [openvino]), .onnx (extra [onnx]), or torch.export's .pt2."""
    out: Path | None = None
    """Folder to write; by default MODEL-FORMAT in the current folder."""
    precision: Literal["auto", "fp32", "bf16", "int8"] = "auto"
    """Precision of matrix multiplications; auto: bf16 if the processor and the engine support it, else fp32. int8 needs --calibration."""
    calibration: str | None = None
    """Images for comparing the graph and calibrating int8: scheme:path[?…] or a folder; by default a few built-in ones."""


@dataclass(frozen=True)
class BenchFlags:
    """Measure accuracy, speed and memory of the cases of a suite, and write report.json."""

    suite: tyro.conf.Positional[str] = "quick"
    """Name of a built-in suite, or a TOML file."""
    out: Path = Path("bench")
    """Folder for the report."""
    engine: str | None = None
    """Engine for all models, which overrides the suite: eager, inductor, openvino, onnxruntime or auto."""
    precision: Literal["auto", "fp32", "bf16", "int8"] | None = None
    """Precision of the engine; int8 needs a suite whose cases define calibration."""
    json: bool = False
    """Print the report as one JSON object, and nothing else, to standard output."""


@dataclass(frozen=True)
class RunsFlags:
    """List the training runs in a folder with their progress, their scores, and the settings in which they differ."""

    folder: tyro.conf.Positional[Path] = Path("runs")
    """A folder of runs, a folder of such folders, or a single run."""
    sort: str | None = None
    """Sort by a score of the best epoch, such as top1 (highest first), or by loss (lowest first); by default by name."""
    json: bool = False
    """Print one JSON object, and nothing else, to standard output."""


@dataclass(frozen=True)
class ListFlags:
    """List the tasks, and the backbones that match a pattern."""

    pattern: tyro.conf.Positional[str] = "*"
    """Shell pattern, such as "resnet*"."""
    json: bool = False
    """Print one JSON object, and nothing else, to standard output."""


@dataclass(frozen=True)
class InfoFlags:
    """Describe a backbone, a task or a saved model."""

    name: tyro.conf.Positional[str]
    """Name of a backbone or task, or a folder."""
    json: bool = False
    """Print one JSON object, and nothing else, to standard output."""


def parse(kind: type[Any], command: str, argv: list[str]) -> Any:
    """Parse the flags of a command.

    Args:
        kind: dataclass of flags.
        command: name of the command, for the help.
        argv: the words after the command.
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
    """Combine the flags of a command with those for building and running, the task's options and its recipe into one dataclass.

    Its attributes are `main`, `build`, `run` and `options`; `recipe` and `scoring` if those arguments are passed; and `engine` if
    `answers` is true.

    Args:
        name: name of the dataclass; in lower case, the heading of the command's flags.
        main: dataclass of the command's flags.
        task: flags of the task.
        recipe: recipe whose values are the defaults of its flags; None for no such flags.
        scoring: dataclass of the task's scoring options; None for no such flags.
        answers: whether the command runs a model and therefore has the flags of engines.
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
        """Assemble the recipe from its groups.

        Raises:
            InputError: a setting is invalid.
        """
        found = {setting: getattr(getattr(flags, f"recipe_{group}"), setting) for group, names in groups.items() for setting in names}
        return kind(**found)

    namespace = {"task_name": task.name, **({"recipe": property(settled)} if groups else {})}
    combined = make_dataclass(name, parts, frozen=True, namespace=namespace)
    combined.__doc__ = main.__doc__
    return combined


def _group(recipe: Recipe, group: str, names: Sequence[str]) -> tuple[Any, Any]:
    """Return a part for `combine`: one group of a recipe's settings as flags without a prefix, under a separate heading."""
    types, texts = get_type_hints(type(recipe)), explained(type(recipe))
    settings: list[Any] = [
        (name, Annotated[types[name], tyro.conf.arg(help=texts[name])], field(default=getattr(recipe, name))) for name in names
    ]
    part: Any = make_dataclass(group, settings, frozen=True)
    part.__doc__ = GROUPS.get(group, "")
    flat: Any = tyro.conf.OmitArgPrefixes
    return Annotated[flat[part], tyro.conf.arg(name=group)], field(default_factory=part)
