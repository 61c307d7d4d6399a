"""The flags of every command: typed dataclasses that tyro turns into a command line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, is_dataclass, make_dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import tyro

from zoo.evaluation.intervals import REPLICATES
from zoo.images.headers import MAX_PIXELS
from zoo.task.flags import TaskFlags
from zoo.task.recipe import GROUPS, Recipe, explained, grouped


@dataclass(frozen=True)
class BuildFlags:
    """Which model to build."""

    task: str = "classification"
    """Task of the model; zoo list prints all tasks."""
    backbone: str | None = None
    """Name of a backbone; zoo list prints all names. Required for training; elsewhere an alternative to a saved model."""
    weights: str | None = None
    """Pretrained weights: "default", a name from zoo info BACKBONE, or a path. By default, the weights are random."""
    classes: str | None = None
    """Class names, separated by commas; by default taken from the training data if there is any, or else from the weights."""


@dataclass(frozen=True)
class EngineFlags:
    """Inference engine and precision."""

    engine: str = "eager"
    """Inference engine: eager, inductor, openvino, onnxruntime, or auto for the fastest installed one, measured once per machine. All but
    eager run on the CPU only."""
    precision: Literal["auto", "fp32", "bf16", "fp16", "int8"] = "auto"
    """Numeric precision of matrix multiplications. With the eager engine, auto means fp32, so that scores don't depend on the machine;
    with other engines, bf16 if the processor supports it, otherwise fp32. int8 requires --calibration."""
    calibration: str | None = None
    """Images for calibrating int8 and for comparing the compiled model with the original: a folder, or a dataset string scheme:path[?…].
    By default, the comparison uses a few built-in images."""
    tune_seconds: float = 20.0
    """Time limit for the measurements of --engine auto, in seconds."""


@dataclass(frozen=True)
class RunFlags:
    """Device, decoding and output."""

    device: str = "auto"
    """Device to compute on: auto, cpu, cuda, cuda:1 or mps."""
    skip_bad: bool = False
    """Skip unreadable images and invalid annotations, and list them."""
    exact: bool = False
    """Decode all images at full resolution. Otherwise, JPEGs much larger than the model's input are decoded at a reduced scale."""
    max_pixels: int = MAX_PIXELS
    """Maximum width × height of an image; larger images are rejected before decoding."""
    quiet: bool = False
    """Don't show progress."""
    json: bool = False
    """Print a single JSON object on standard output, and nothing else there."""


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
    """Face only: align the main face of each image, found with this detector: mtcnn, or the folder of a detection model. By default, images
    are not aligned."""
    recipe: str = "standard"
    """Training settings: quick, standard, thorough, or a TOML file, such as a run's recipe.toml. Flags for single settings take
    precedence."""
    resume: bool = False
    """Continue the run in --out from its last checkpoint. Automatic after a restart by torchrun."""
    checkpoint_minutes: float = 10.0
    """Minutes between checkpoints within an epoch; 0 saves one after every step. Another is saved at the end of every epoch."""
    track: str | None = None
    """Experiment trackers that receive loss, learning rate and scores, separated by commas: tensorboard (writes to tensorboard/ in the run
    folder), wandb, mlflow, …. The tracker tensorboard requires the extra [track]; others require their own package. By default, no
    tracker is used."""


@dataclass(frozen=True)
class EvalFlags:
    """Evaluate trained models (folders of runs or models), a backbone with weights (--backbone, --weights), or a prediction file."""

    data: str
    """Evaluation data: a path, or a dataset string scheme:path[?split=…&classes=…&limit=…&exact=true]."""
    models: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="[MODEL…]", help_behavior_hint="")] = ()
    """Folders of runs or saved models. Several models are evaluated as an ensemble."""
    vote: Literal["soft", "hard", "weighted"] = "soft"
    """How to combine the predictions of an ensemble. soft: mean of the probabilities (classification), fused boxes (detection) or mean of
    the cosines (face); hard (classification only): majority vote; weighted (classification only): mean with weights fitted on --val."""
    val: str | None = None
    """Validation data for fitting the weights of --vote weighted, which requires it; must differ from --data."""
    tta: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """Test-time augmentation: "flip" (horizontal flips), "scales" (other input sizes), or both as "flip,scales"."""
    predictions: Path | None = None
    """Evaluate this prediction file instead of a model. Detection: COCO results. Classification: a table or JSON Lines file of logits,
    probabilities or labels. Face: a table, JSON Lines or .npz file of embeddings."""
    align: str | None = None
    """Face only: align the main face of each image as in training, found with this detector: mtcnn, or the folder of a detection model.
    By default, images are not aligned."""
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
    """Also evaluate under this white-box attack: any of the three for classification, pgd for face. Requires the extra [robustness]."""
    eps: str | None = None
    """Maximum perturbation (L∞) of --attack, for pixel values in [0, 1]; default 8/255."""
    steps: int | None = None
    """Number of steps of --attack pgd; default 20."""
    pairs: int | None = None
    """Face only: maximum number of genuine pairs, and of impostor pairs, for --attack; default 500."""
    replicates: int = REPLICATES
    """Number of bootstrap replicates for the 95 % confidence intervals; 0 disables the intervals."""
    batch_size: int | None = None
    """Images per batch; by default based on the model's input size."""
    workers: int | None = None
    """Number of data loader processes; by default chosen for this machine."""


@dataclass(frozen=True)
class CompareFlags:
    """Flags of `zoo compare`."""

    a: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="A")]
    """First side of the comparison: the folder of a run or model, or a prediction file. Several comma-separated paths are
    treated as repeated runs, and their scores are averaged."""
    b: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="B")]
    """Second side of the comparison, in the same form as A."""
    data: str
    """Evaluation data: a path, or a dataset string scheme:path[?split=…&classes=…&limit=…&exact=true]."""
    task: str | None = None
    """Task; required for prediction files, otherwise taken from the models."""
    replicates: int = REPLICATES
    """Number of bootstrap replicates for the 95 % confidence intervals."""
    batch_size: int | None = None
    """Images per batch; by default based on the model's input size."""
    workers: int | None = None
    """Number of data loader processes; by default chosen for this machine."""


@dataclass(frozen=True)
class PredictFlags:
    """Predict on images, folders, videos or a camera (by device index, e.g. 0)."""

    inputs: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="[MODEL] SOURCE…", help_behavior_hint="(required)")]
    """Folder of a run or model, followed by one or more images, folders, videos or cameras. With --backbone, omit the model."""
    out: Path | None = None
    """Output folder for annotated images and predictions.jsonl; by default, no files are written."""
    batch_size: int | None = None
    """Images per batch; by default based on the model's input size."""
    detector: str | None = None
    """Face only: detector of the faces to align and embed: mtcnn, or the folder of a detection model with a "face" class (both accept
    settings, e.g. mtcnn?min_size=40&threshold=0.8), or none to treat each image as one face. By default, mtcnn if the model requires
    aligned faces, otherwise none."""
    faces: Literal["all", "largest", "central"] = "all"
    """Which faces to process: all of them, or the main one in each image (face only)."""


@dataclass(frozen=True)
class ExportFlags:
    """Export a model for other programs, as a folder with graphs, classes and preprocessing. zoo.load and zoo eval can also read it."""

    model: Annotated[tyro.conf.Positional[Path | None], tyro.conf.arg(metavar="[MODEL]")] = None
    """Folder of a run or saved model; by default, the model is built from --backbone and --weights."""
    format: Literal["openvino", "onnx", "torch"] = "openvino"
    """Format of the graphs. openvino: .xml and .bin (extra [openvino]); onnx: .onnx (extra [onnx]); torch: torch.export's .pt2."""
    out: Path | None = None
    """Output folder; by default MODEL-FORMAT in the current folder."""
    precision: Literal["auto", "fp32", "bf16", "int8"] = "auto"
    """Numeric precision of matrix multiplications; auto means bf16 if the processor and the engine support it, otherwise fp32. int8
    requires --calibration."""
    calibration: str | None = None
    """Images for calibrating int8 and for comparing the graphs with the model: a folder, or a dataset string scheme:path[?…]. By default,
    the comparison uses a few built-in images."""


@dataclass(frozen=True)
class BenchFlags:
    """Run a benchmark suite, measuring accuracy, speed and memory, and write report.json."""

    suite: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="[SUITE]")] = "quick"
    """Name of a built-in suite, or a TOML file."""
    out: Path = Path("bench")
    """Output folder for the report."""
    engine: str | None = None
    """Inference engine for all models: eager, inductor, openvino, onnxruntime or auto; by default the suite's setting."""
    precision: Literal["auto", "fp32", "bf16", "int8"] | None = None
    """Precision of the engine; by default the suite's setting. int8 requires a suite whose cases define calibration data."""
    json: bool = False
    """Print the report as a single JSON object on standard output, and nothing else there."""


@dataclass(frozen=True)
class RunsFlags:
    """List the training runs in a folder, with their progress, their scores, and the settings in which they differ."""

    folder: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="[FOLDER]")] = Path("runs")
    """Folder that contains runs (subfolders are searched too), or the folder of a single run."""
    sort: str | None = None
    """Score to sort by, such as top1 (highest first, at the best epoch), or loss (lowest first); by default, runs are sorted by name."""
    json: bool = False
    """Print a single JSON object on standard output, and nothing else there."""


@dataclass(frozen=True)
class ListFlags:
    """List the backbones that match a pattern, and all tasks."""

    pattern: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="[PATTERN]")] = "*"
    """Shell pattern for the names of backbones, such as "resnet*"."""
    json: bool = False
    """Print a single JSON object on standard output, and nothing else there."""


@dataclass(frozen=True)
class InfoFlags:
    """Describe a backbone, a task or a saved model."""

    name: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="NAME")]
    """Name of a backbone or task, or the folder of a run or saved model."""
    json: bool = False
    """Print a single JSON object on standard output, and nothing else there."""


_HELP = tyro.constructors.ConstructorRegistry()
_ACTIVE: set[Any] = set()  # dataclasses that tyro's own rule is reading, so that `_readable` doesn't call itself


@_HELP.struct_rule
def _readable(info: tyro.constructors.StructTypeInfo) -> tyro.constructors.StructConstructorSpec | None:
    """Return tyro's specification of a dataclass, with more readable help for its flags."""
    if not is_dataclass(info.type) or info.type in _ACTIVE:
        return None
    _ACTIVE.add(info.type)
    try:
        spec = tyro.constructors.ConstructorRegistry.get_struct_spec(info)
    finally:
        _ACTIVE.remove(info.type)
    if not isinstance(spec, tyro.constructors.StructConstructorSpec):
        return None
    return replace(spec, fields=tuple(map(_readable_flag, spec.fields)))


def _readable_flag(flag: tyro.constructors.StructFieldSpec) -> tyro.constructors.StructFieldSpec:
    """Return a flag whose help starts with a capital letter and has no line breaks.

    An optional value is shown as STR instead of {None}|STR. None, True and False aren't shown as defaults; the text describes them.
    """
    kind, *extras = get_args(flag.type) if get_origin(flag.type) is Annotated else (flag.type,)
    hint = "" if flag.default is None or isinstance(flag.default, bool) else None
    shown = tyro.conf.arg(metavar=_optional_metavar(kind), help_behavior_hint=hint)
    return replace(flag, type=Annotated[(kind, shown, *extras)], helptext=lambda: _sentence(flag.helptext))  # type: ignore[arg-type]


def _sentence(text: Any) -> str | None:
    words = " ".join(((text() if callable(text) else text) or "").split())
    return words[:1].upper() + words[1:] or None


def _optional_metavar(kind: Any) -> str | None:
    """Return STR for `str | None` and {a,b} for `Literal["a", "b"] | None`; None for a type that isn't optional."""
    kinds = [inner for inner in get_args(kind) if inner is not type(None)]
    if len(kinds) == len(get_args(kind)):
        return None
    return f"{{{','.join(get_args(kinds[0]))}}}" if get_origin(kinds[0]) is Literal else kinds[0].__name__.upper()


def parse(kind: type[Any], command: str, argv: list[str]) -> Any:
    """Parse the flags of a command.

    Args:
        kind: dataclass of flags.
        command: name of the command, for the help.
        argv: the command-line arguments after the command.
    """
    settings = (tyro.conf.FlagCreatePairsOff, tyro.conf.OmitSubcommandPrefixes)
    with _HELP:
        return tyro.cli(kind, prog=f"zoo {command}", args=argv, config=settings, description=kind.__doc__)


def combine(
    name: str,
    main: type[Any],
    task: TaskFlags,
    recipe: Recipe | None = None,
    scoring: type[Any] | None = None,
    answers: bool = False,
) -> type[Any]:
    """Combine the flags of a command with those for building and running a model, and with the task's options, into one dataclass.

    It has the attributes `main`, `build`, `run` and `options`. It also has `recipe` and `scoring` if those arguments are passed, and
    `engine` if `answers` is true.

    Args:
        name: name of the dataclass. In lower case, it is also the heading of the command's flags.
        main: dataclass of the command's flags.
        task: flags of the task.
        recipe: recipe whose values are the defaults of its flags; None for no such flags.
        scoring: dataclass of the task's scoring options; None for no such flags.
        answers: whether the command runs a model, so that it has the flags for choosing an engine.
    """
    flat = tyro.conf.OmitArgPrefixes
    parts: list[Any] = [
        ("main", Annotated[flat[main], tyro.conf.arg(name=name.lower(), help="")]),
        ("build", flat[BuildFlags], field(default_factory=BuildFlags)),
        ("run", Annotated[flat[RunFlags], tyro.conf.arg(name="general")], field(default_factory=RunFlags)),
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
        """Create the recipe from the settings of all groups.

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
    """Return the type and default of a dataclass field for `combine`: a group of a recipe's settings as flags under a separate heading."""
    types, texts = get_type_hints(type(recipe)), explained(type(recipe))
    # a setting that is True becomes a flag --no-…, whose help describes what it disables
    texts |= {
        setting.name: setting.metadata.get("off", texts[setting.name])
        for setting in fields(recipe)
        if getattr(recipe, setting.name) is True
    }
    settings: list[Any] = [
        (name, Annotated[types[name], tyro.conf.arg(help=texts[name])], field(default=getattr(recipe, name))) for name in names
    ]
    part: Any = make_dataclass(group, settings, frozen=True)
    part.__doc__ = GROUPS.get(group, "")
    flat: Any = tyro.conf.OmitArgPrefixes
    return Annotated[flat[part], tyro.conf.arg(name=group)], field(default_factory=part)
