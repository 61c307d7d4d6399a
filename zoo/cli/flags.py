"""The flags that commands share, and their combination with those of a command and a task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, make_dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import tyro

from zoo.data.classes import read_classes
from zoo.errors import InputError
from zoo.images.headers import MAX_PIXELS
from zoo.task.flags import TaskFlags
from zoo.task.recipe import GROUPS, RunRecipe, explained, grouped

BatchSize = Annotated[int | None, tyro.conf.arg(help="Images per batch; by default based on the model's input size.")]
Workers = Annotated[int | None, tyro.conf.arg(help="Number of data loader processes; by default chosen for this machine.")]
SkipBad = Annotated[bool, tyro.conf.arg(help="Skip unreadable images and invalid annotations, and list them.")]
Quiet = Annotated[bool, tyro.conf.arg(help="Don't show progress.")]
Json = Annotated[bool, tyro.conf.arg(help="Print only a single JSON object to standard output.")]
_DATA = (
    "Evaluation data: a path, or a dataset string scheme:path[?split=…&classes=…&limit=…&exact=true]. "
    "For a model with several heads: NAME=DATA, or NAME,NAME=DATA, once for each head to score."
)
EvaluationData = Annotated[tyro.conf.UseAppendAction[tuple[str, ...]], tyro.conf.arg(help=_DATA, help_behavior_hint="(required)")]

_CALIBRATION = (
    "Images for calibrating int8 and for comparing the compiled model with the original: a folder, or a dataset string scheme:path[?…]. "
    "By default, the comparison uses a few built-in images. For a model with several heads, they are for all heads, unless the flag is "
    "NAME=DATA, or NAME,NAME=DATA, once for each head with images."
)
Calibration = Annotated[tyro.conf.UseAppendAction[tuple[str, ...]], tyro.conf.arg(help=_CALIBRATION, metavar="STR", help_behavior_hint="")]


@dataclass(frozen=True)
class BuildFlags:
    """Which model to build."""

    task: str = "classification"
    """Task of the model; zoo list prints all tasks. zoo train also builds models with several heads: --task NAME=TASK for each of them."""
    backbone: str | None = None
    """Name of a backbone; zoo list prints all names. Required for training; elsewhere an alternative to a saved model."""
    weights: str | None = None
    """Pretrained weights: "default", a name from zoo info BACKBONE, hf:OWNER/NAME, or a path. By default, the weights are random."""
    classes: str | None = None
    """Class names, separated by commas; by default taken from the training data if there is any, or else from the weights."""
    classes_file: Path | None = None
    """Text file with one class name per line, an alternative to --classes for names that contain commas."""
    licence_policy: Literal["any", "permissive"] | None = None
    """Licences of weights and saved models that may be loaded: permissive refuses those for research only, with other restrictions or
    with an unknown licence. By default the value of the environment variable ZOO_LICENCE_POLICY, or any."""

    @property
    def class_names(self) -> list[str] | None:
        """The names given by --classes or --classes-file; None if neither is set."""
        if self.classes_file is None:
            return None if self.classes is None else [name.strip() for name in self.classes.split(",")]
        if self.classes is not None:
            raise InputError("--classes and --classes-file can't be combined; pass only one of them")
        return list(read_classes(self.classes_file)) or None


@dataclass(frozen=True)
class EngineFlags:
    """Inference engine and precision."""

    engine: str = "eager"
    """Inference engine: eager, inductor, openvino, onnxruntime, or auto, which times the installed engines once per machine and uses the
    fastest. All but eager run on the CPU only."""
    precision: Literal["auto", "fp32", "bf16", "fp16", "int8"] = "auto"
    """Numeric precision of matrix multiplications. With the eager engine, auto means fp32, so that scores don't depend on the machine;
    with other engines, bf16 if the processor supports it, otherwise fp32. int8 requires --calibration."""
    calibration: Calibration = ()
    tune_seconds: float = 20.0
    """Time limit for the measurements of --engine auto, in seconds."""


@dataclass(frozen=True)
class RunFlags:
    """Device, decoding and output."""

    device: str = "auto"
    """Device to compute on: auto, cpu, cuda, cuda:1 or mps."""
    skip_bad: SkipBad = False
    exact: bool = False
    """Decode all images at full resolution. Otherwise, JPEGs much larger than the model's input are decoded at a reduced scale."""
    max_pixels: int = MAX_PIXELS
    """Maximum width × height of an image; larger images are rejected before decoding."""
    quiet: Quiet = False
    json: Json = False

    @property
    def on_error(self) -> Literal["raise", "skip"]:
        """How to handle unreadable images and invalid annotations."""
        return "skip" if self.skip_bad else "raise"

    @property
    def reading(self) -> dict[str, Any]:
        """Device and decoding, as keywords of `zoo.train`, `zoo.evaluate` and `zoo.predict`."""
        return {"device": self.device, "on_error": self.on_error, "exact": self.exact, "max_pixels": self.max_pixels}


def combine(
    main: type[Any],
    task: TaskFlags,
    recipe: RunRecipe | None = None,
    scoring: bool = False,
    engine: bool = False,
    build: type[Any] = BuildFlags,
) -> type[Any]:
    """Combine the flags of a command with those for building and running a model, and with the task's options, into one dataclass.

    It has the attributes `main`, `build`, `run`, `options` and `task_name`, and those among `recipe`, `scoring` and `engine` that are
    requested.

    Args:
        main: dataclass of the command's flags. Its name without "Flags", in lower case, is their heading.
        task: flags of the task.
        recipe: recipe whose values are the defaults of the recipe flags; None if the command has no such flags.
        scoring: whether the command has the task's scoring options.
        engine: whether the command has the flags for choosing an engine.
        build: dataclass of the flags for building a model.
    """
    flat: Any = tyro.conf.OmitArgPrefixes
    name = main.__name__.removesuffix("Flags")
    kind: Any = type(recipe)
    groups = {} if recipe is None else grouped(kind)
    parts: list[Any] = [
        ("main", Annotated[flat[main], tyro.conf.arg(name=name.lower(), help="")]),
        ("build", Annotated[flat[build], tyro.conf.arg(name="build")], field(default_factory=build)),
        ("run", Annotated[flat[RunFlags], tyro.conf.arg(name="general")], field(default_factory=RunFlags)),
        *([("engine", flat[EngineFlags], field(default_factory=EngineFlags))] if engine else []),
        ("options", Annotated[flat[task.options], tyro.conf.arg(name="model", help="")], field(default_factory=task.options)),
        *((f"recipe_{group}", *_group(recipe, group, names)) for group, names in groups.items()),
        *([("scoring", flat[task.scoring], field(default_factory=task.scoring))] if scoring else []),
    ]

    def settled(flags: Any) -> Any:
        """Create the recipe from the settings of all groups, which raises an `InputError` if one is invalid."""
        values = {name: getattr(getattr(flags, f"recipe_{group}"), name) for group, names in groups.items() for name in names}
        return replace(recipe, **values)  # type: ignore[type-var]  # it isn't None if there are groups

    namespace = {"task_name": task.name, **({"recipe": property(settled)} if groups else {})}
    combined = make_dataclass(name, parts, frozen=True, namespace=namespace)
    combined.__doc__ = main.__doc__
    return combined


def joined(parts: Sequence[TaskFlags]) -> TaskFlags:
    """Return the flags of a model whose heads have these tasks: all their options and scoring options, and otherwise those of the first."""
    if len(parts) == 1:
        return parts[0]
    options = _union("ModelOptions", [part.options for part in parts])
    return replace(parts[0], options=options, scoring=_union("Scoring", [part.scoring for part in parts]))


def _union(name: str, kinds: Sequence[type[Any]]) -> type[Any]:
    """Return a dataclass with the fields of several dataclasses. Of fields with the same name, the first counts."""
    found: dict[str, Any] = {}
    for kind in kinds:
        types, texts = get_type_hints(kind, include_extras=True), explained(kind)
        for option in fields(kind):
            default = field(default=option.default, default_factory=option.default_factory)
            found.setdefault(option.name, (option.name, Annotated[types[option.name], tyro.conf.arg(help=texts[option.name])], default))
    return make_dataclass(name, found.values(), frozen=True)


def _group(recipe: Any, group: str, names: Sequence[str]) -> tuple[Any, Any]:
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
