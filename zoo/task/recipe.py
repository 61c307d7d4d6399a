"""Training settings: a frozen, typed dataclass that every run stores as TOML."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar, get_args, get_origin, get_type_hints

import docstring_parser
import tomli_w

from zoo.errors import InputError, UnknownNameError, check_positive
from zoo.system.precision import Precision

Scheduling = Literal["cosine", "tanh", "poly", "step", "constant"]


@dataclass(frozen=True)
class RunRecipe:
    """Training settings of a run: schedule, optimisation, freezing and runtime.

    The texts below are also the help of `zoo train`. The metadata "off" of a setting that is True by default is the help of its flag
    `--no-…`.

    Attributes:
        epochs: number of epochs; by default derived from --steps.
        steps: approximate number of optimiser steps; used if --epochs is not set. Training runs for at least 2 epochs.
        max_epochs: upper limit on the epochs derived from --steps.
        lr: peak learning rate.
        optimizer: name of a timm optimiser, such as "adamw", "sgd" or "lamb".
        weight_decay: weight decay; not applied to biases and normalisation layers.
        layer_decay: the learning rate is multiplied by this factor from each backbone stage to the one before it; 1 means equal rates.
        scheduler: learning rate schedule after the warm-up: timm's "cosine", "tanh" or "poly" (all decay to 0), "step" (divided by 10
            after each third of training), or "constant".
        warmup: fraction of all steps during which the learning rate rises from 0 to its peak.
        clip_grad: maximum norm of the gradient; 0 disables clipping.
        grad_accumulation: number of batches per optimiser step.
        ema: decay of the exponential moving average of the weights; 0 disables averaging.
        freeze: layers of the backbone to freeze: "none", "trunk" (the whole backbone), "stages=N" (the stem and the first N stages),
            "norm" (batch norm), or two of these separated by a comma; by default, those already frozen in the model.
        unfreeze_every: unfreeze one more stage after every N epochs, starting with the deepest; 0 disables it.
        feature_cache: cache the features of a frozen backbone, computed once per image, for later epochs and runs.
        early_stop: stop after this many epochs without improvement of the validation score; 0 disables it.
        on_nan: what to do if the loss is NaN or infinite: "stop" training, or "skip" the batch and report the number of skipped batches.
        seed: random seed for all randomness in training, such as the order of the samples and the augmentation.
        precision: numeric precision of training; "auto" means bf16 where the hardware accelerates it, otherwise fp32.
        workers: number of data loader processes; by default chosen for this machine.
    """

    groups: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "schedule": ("epochs", "steps", "max_epochs", "scheduler", "warmup", "early_stop"),
        "optimisation": ("lr", "optimizer", "weight_decay", "layer_decay", "clip_grad", "grad_accumulation"),
        "regularisation": ("ema",),
        "freezing": ("freeze", "unfreeze_every", "feature_cache"),
        "runtime": ("seed", "precision", "workers", "on_nan"),
    }

    epochs: int | None = None
    steps: int = 1000
    max_epochs: int = 100
    lr: float = 1e-3
    optimizer: str = "adamw"
    weight_decay: float = 0.05
    layer_decay: float = 1.0
    scheduler: Scheduling = "cosine"
    warmup: float = 0.1
    clip_grad: float = 0.0
    grad_accumulation: int = 1
    ema: float = 0.0
    freeze: str | None = None
    unfreeze_every: int = 0
    feature_cache: bool = field(
        default=True, metadata={"off": "Don't cache the features of a frozen backbone; recompute them every epoch from augmented images."}
    )
    early_stop: int = 0
    on_nan: Literal["stop", "skip"] = "stop"
    seed: int = 0
    precision: Precision = "auto"
    workers: int | None = None

    def __post_init__(self) -> None:
        """Raise an `InputError` that names the first invalid setting and its value."""
        _check_numbers(asdict(self), self.seed)
        check_positive("recipe", steps=self.steps, max_epochs=self.max_epochs, lr=self.lr, grad_accumulation=self.grad_accumulation)
        if self.epochs is not None and self.epochs < 1:
            raise InputError(f"recipe: epochs is {self.epochs}; expected 1 or more")
        check_parts("recipe", 0, 1, False, warmup=self.warmup, ema=self.ema)
        if not 0 < self.layer_decay <= 1:
            raise InputError(f"recipe: layer_decay is {self.layer_decay}; expected a factor above 0 and up to 1")
        for name in ("weight_decay", "clip_grad", "unfreeze_every", "early_stop", "workers"):
            if (getattr(self, name) or 0) < 0:
                raise InputError(f"recipe: {name} is {getattr(self, name)}; expected 0 or more")
        for name, kind in get_type_hints(type(self)).items():
            if get_origin(kind) is Literal and getattr(self, name) not in get_args(kind):
                raise InputError(f"recipe: {name} is {getattr(self, name)!r}; expected {', '.join(map(repr, get_args(kind)))}")

    def settings(self) -> dict[str, Any]:
        """Return the settings by name, without those that are None, which are chosen automatically."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class Recipe(RunRecipe):
    """Training settings shared by all tasks. A task's subclass may add settings and change defaults.

    Attributes:
        batch_size: images per step in each process; the default is capped at the dataset size.
        balance: "classes" draws all classes equally often; "none" draws every sample once per epoch.
        min_samples: minimum number of training samples per class. A class with fewer raises an error, because such classes usually
            come from stray or misplaced files; 1 disables the check. It doesn't apply if every class has a single sample.
    """

    groups: ClassVar[Mapping[str, tuple[str, ...]]] = {"optimisation": ("batch_size",), "sampling": ("balance", "min_samples")}

    batch_size: int = 32
    balance: Literal["none", "classes"] = "none"
    min_samples: int = 1

    def __post_init__(self) -> None:
        """Raise an `InputError` that names the first invalid setting and its value."""
        super().__post_init__()
        check_positive("recipe", batch_size=self.batch_size, min_samples=self.min_samples)
        if self.batch_size < 2:
            raise InputError("recipe: batch_size is 1; expected 2 or more, because batch-norm can't train on one image")


def _check_numbers(values: Mapping[str, Any], seed: int) -> None:
    """Check that numbers are finite, because NaN passes every range check, and that torch's generators accept the seed."""
    for name, value in values.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise InputError(f"recipe: {name} is {value}; expected a finite number")
    if not -(2**63) <= seed < 2**64:
        raise InputError(f"recipe: seed is {seed}; expected a whole number of up to 64 bits")


def check_parts(where: str, low: float, high: float, closed: bool, **values: float) -> None:
    """Raise an `InputError` unless each value is in [low, high], or in [low, high) if not `closed`. `where` begins the message."""
    for name, value in values.items():
        if not low <= value <= high or (value == high and not closed):
            raise InputError(f"{where}: {name} is {value}; expected a value in [{low:g}, {high:g}{']' if closed else ')'}")


R = TypeVar("R", bound=RunRecipe)
_WORDS = {int: "a whole number", float: "a number", str: "a string", bool: "true or false"}


def to_toml(recipe: RunRecipe) -> str:
    """Return a recipe as TOML, without the settings that are None, which are chosen automatically."""
    return tomli_w.dumps(recipe.settings())


def read_toml(path: Path, kind: type[R]) -> R:
    """Read a recipe of the class `kind` from a TOML file; settings missing from the file keep their defaults."""
    return replace_settings(kind(), read_settings(path), str(path))


def read_settings(path: Path) -> dict[str, Any]:
    """Return the settings in a TOML file, unchecked."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"recipe {path} can't be read as TOML ({error})") from error


def replace_settings(recipe: R, values: Mapping[str, Any], origin: str) -> R:
    """Return a copy of the recipe in which `values` replace the settings of these names.

    Raises:
        UnknownNameError: the recipe has no setting of that name. The message names `origin`, the source of the values.
        InputError: a value is invalid or has the wrong type.
    """
    hints = get_type_hints(type(recipe))
    known = {setting.name: hints[setting.name] for setting in fields(recipe)}
    for name, value in values.items():
        if name not in known:
            raise UnknownNameError(f"recipe setting of {origin}:", name, known)
        if value is None and type(None) in get_args(known[name]):
            continue
        kind = _plain_type(known[name])
        right = isinstance(value, int | float) if kind is float else isinstance(value, kind)
        if not right or (isinstance(value, bool) and kind is not bool):
            default = getattr(type(recipe)(), name)
            example = "" if default is None else f", such as {default!r}"
            raise InputError(f"{origin}: {name} is {value!r}; expected {_WORDS[kind]}{example}")
    try:
        return replace(recipe, **values)
    except InputError as error:
        raise InputError(f"{origin}: {str(error).removeprefix('recipe: ')}") from error


def _plain_type(hint: Any) -> type:
    """Return the plain type of a type hint: int for `int | None`, str for `Literal["cosine"]`."""
    if get_origin(hint) is Literal:
        return str
    inner = [kind for kind in get_args(hint) if kind is not type(None)]
    plain: type = inner[0] if inner else hint
    return plain


def find_recipe(kind: type[R], presets: Mapping[str, Recipe], which: str | None) -> R:
    """Return the preset with the name `which`, the recipe in the TOML file `which`, or the default recipe if `which` is None."""
    if which is None:
        return kind()
    if which in presets:
        preset = presets[which]
        assert isinstance(preset, kind)
        return preset
    return read_toml(toml_path(which, presets), kind)


def toml_path(which: str, presets: Iterable[str]) -> Path:
    """Return the path of a TOML file; raise an `UnknownNameError` if `which` is neither a file nor looks like one."""
    path = Path(which)
    if not path.exists() and path.suffix != ".toml":
        raise UnknownNameError("recipe (neither a preset nor a TOML file):", which, presets)
    return path


GROUPS: Mapping[str, str] = {
    "schedule": "Duration of training and learning rate schedule.",
    "optimisation": "Optimiser, learning rate and batch size.",
    "sampling": "How batches are sampled.",
    "augmentation": "Random transformations of training images.",
    "regularisation": "Regularisation to reduce overfitting.",
    "freezing": "Which layers are frozen.",
    "loss": "The loss function.",
    "runtime": "Random seed, precision, data loader processes and error handling.",
}
OTHERS = "other"  # group of the settings that aren't assigned to any group


def grouped(kind: type[Any]) -> dict[str, tuple[str, ...]]:
    """Return the names of a recipe's settings by group: first the groups in `GROUPS`, then other groups. Nested recipes are left out.

    A recipe assigns its settings to groups in the class variable `groups`, and inherits the assignments of its base classes. If both
    assign the same setting, the subclass takes precedence.
    """
    of: dict[str, str] = {}
    for part in reversed(kind.__mro__):
        of |= {name: group for group, names in vars(part).get("groups", {}).items() for name in names}
    settings = [setting.name for setting in fields(kind) if not setting.metadata.get("nested")]
    order = [*GROUPS, *of.values(), OTHERS]
    found = {group: tuple(name for name in settings if of.get(name, OTHERS) == group) for group in dict.fromkeys(order)}
    return {group: names for group, names in found.items() if names}


def explained(kind: type[Any]) -> dict[str, str]:
    """Return a description of each setting, from the "Attributes" sections in the docstrings of the recipe and its base classes.

    The descriptions start with a capital letter.
    """
    found: dict[str, str] = {}
    for part in reversed(kind.__mro__):
        known = docstring_parser.parse(vars(part).get("__doc__") or "").params
        found |= {entry.arg_name: " ".join(entry.description.split()) for entry in known if entry.description}
    return {setting.name: found.get(setting.name, "")[:1].upper() + found.get(setting.name, "")[1:] for setting in fields(kind)}
