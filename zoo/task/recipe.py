"""Training settings: a frozen, typed dataclass, written into every run as TOML."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar, get_args, get_origin, get_type_hints

import docstring_parser
import tomli_w

from zoo.errors import InputError, UnknownNameError, check_positive
from zoo.system.precision import Precision

Scheduling = Literal["cosine", "tanh", "poly", "step", "constant"]


@dataclass(frozen=True)
class Recipe:
    """Settings that every task's training has; tasks subclass it with their own defaults and fields.

    Attributes:
        epochs: passes over the data; None for as many as make about `steps` steps (at least 2, at most `max_epochs`).
        steps: optimiser steps aimed at where `epochs` is None.
        max_epochs: the most passes over little data where `epochs` is None.
        batch_size: pictures per step and process; less where the data has fewer, if this is a recipe's own figure.
        lr: highest learning rate.
        optimizer: a timm optimiser ("adamw", "sgd", "lamb", …).
        weight_decay: of weights; biases and norms have none.
        layer_decay: factor of the learning rate from each stage of the trunk to the one before it; 1 for the same everywhere.
        scheduler: timm's "cosine", "tanh" or "poly" (to nought at the end), "step" (to a tenth after every third of the run), or
            "constant"; after the warm-up.
        warmup: part of all steps in which the learning rate rises from nought.
        clip_grad: highest norm of the gradient; 0 for no limit.
        grad_accumulation: batches per optimiser step.
        ema: decay of the exponential moving average of the weights; 0 for none.
        freeze: what of the trunk doesn't learn: "none", "trunk", "stages=N" (the stem and the first N stages), "norm" (batch-norm), or
            two of them joined by a comma; None for what the model was built with.
        unfreeze_every: epochs after which the deepest frozen stage learns too, then the next; 0 for never.
        feature_cache: what a trunk that is frozen whole makes of a picture is computed once, and kept for other runs too; with
            --no-feature-cache every epoch computes it, of augmented pictures.
        balance: "classes" draws every class as often as any other; "none" every sample once an epoch.
        min_samples: a class with fewer training samples than this is an error, as stray or misplaced files make one; 1 for none. Data
            with one sample of every class is meant to be so.
        early_stop: epochs without a better score on the validation data after which training ends; 0 for never.
        on_nan: a loss that is not a number: "stop", or "skip" that batch and count it.
        seed: of initial order, augmentation and everything random in training.
        precision: "auto" takes bf16 where the processor gains from it.
        workers: loader processes; None for what suits the machine.
    """

    groups: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "schedule": ("epochs", "steps", "max_epochs", "scheduler", "warmup", "early_stop"),
        "optimisation": ("batch_size", "lr", "optimizer", "weight_decay", "layer_decay", "clip_grad", "grad_accumulation"),
        "sampling": ("balance", "min_samples"),
        "regularisation": ("ema",),
        "freezing": ("freeze", "unfreeze_every", "feature_cache"),
        "running": ("seed", "precision", "workers", "on_nan"),
    }

    epochs: int | None = None
    steps: int = 1000
    max_epochs: int = 100
    batch_size: int = 32
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
    feature_cache: bool = True
    balance: Literal["none", "classes"] = "none"
    min_samples: int = 1
    early_stop: int = 0
    on_nan: Literal["stop", "skip"] = "stop"
    seed: int = 0
    precision: Precision = "auto"
    workers: int | None = None

    def __post_init__(self) -> None:
        """Refuse settings that can't work.

        Raises:
            InputError: naming the setting and its value.
        """
        _check_numbers(asdict(self), self.seed)
        check_positive("recipe", steps=self.steps, max_epochs=self.max_epochs, batch_size=self.batch_size, lr=self.lr)
        check_positive("recipe", grad_accumulation=self.grad_accumulation, min_samples=self.min_samples)
        if self.batch_size < 2:
            raise InputError("recipe: batch_size is 1; expected 2 or more, batch-norm can't train on one picture")
        if self.epochs is not None and self.epochs < 1:
            raise InputError(f"recipe: epochs is {self.epochs}; expected 1 or more")
        check_parts("recipe", 0, 1, False, warmup=self.warmup, ema=self.ema)
        if not 0 < self.layer_decay <= 1:
            raise InputError(f"recipe: layer_decay is {self.layer_decay}; expected a factor above 0 and up to 1")
        for name in ("weight_decay", "clip_grad", "unfreeze_every", "early_stop"):
            if getattr(self, name) < 0:
                raise InputError(f"recipe: {name} is {getattr(self, name)}; expected 0 or more")
        if self.workers is not None and self.workers < 0:
            raise InputError(f"recipe: workers is {self.workers}; expected 0 or more")
        for name, kind in get_type_hints(type(self)).items():
            if get_origin(kind) is Literal and getattr(self, name) not in get_args(kind):
                raise InputError(f"recipe: {name} is {getattr(self, name)!r}; expected {', '.join(map(repr, get_args(kind)))}")


def _check_numbers(values: Mapping[str, Any], seed: int) -> None:
    """Refuse what no range refuses, since it compares with nothing, and what torch's generators can't take.

    Raises:
        InputError: naming the setting and its value.
    """
    for name, value in values.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise InputError(f"recipe: {name} is {value}; expected a finite number")
    if not -(2**63) <= seed < 2**64:
        raise InputError(f"recipe: seed is {seed}; expected a whole number of up to 64 bits")


def check_parts(where: str, low: float, high: float, closed: bool, **values: float) -> None:
    """Refuse numbers outside a range.

    Args:
        where: whose settings they are, for the message.
        low: the smallest that is right.
        high: the largest that is right, if the range is closed.
        closed: whether `high` itself is right.
        **values: name to number.

    Raises:
        InputError: naming the first that is wrong.
    """
    for name, value in values.items():
        if not low <= value <= high or (value == high and not closed):
            raise InputError(f"{where}: {name} is {value}; expected a part from {low:g} to {'' if closed else 'below '}{high:g}")


R = TypeVar("R", bound=Recipe)
_WORDS = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}


def to_toml(recipe: Recipe) -> str:
    """Return a recipe as TOML; settings that are None (left to the zoo) are not in it."""
    return tomli_w.dumps({name: value for name, value in asdict(recipe).items() if value is not None})


def read_toml(path: Path, kind: type[R]) -> R:
    """Read a recipe from a TOML file; what it doesn't name keeps its default.

    Args:
        path: the file.
        kind: the task's recipe class.

    Raises:
        InputError: no such file, not TOML, or a value of another type.
        UnknownNameError: a setting that the task doesn't have.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"recipe {path}: can't be read as TOML ({error})") from error
    return replace_settings(kind(), values, str(path))


def replace_settings(recipe: R, values: Mapping[str, Any], origin: str) -> R:
    """Return the recipe with other values, checked for name and type.

    Raises:
        UnknownNameError: a setting that the task doesn't have.
        InputError: a value of another type.
    """
    hints = get_type_hints(type(recipe))
    known = {setting.name: hints[setting.name] for setting in fields(recipe)}
    for name, value in values.items():
        if name not in known:
            raise UnknownNameError(f"recipe setting of {origin}:", name, known)
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
    """Return what values of a setting are: int of `int | None`, str of `Literal["cosine"]`."""
    if get_origin(hint) is Literal:
        return str
    inner = [kind for kind in get_args(hint) if kind is not type(None)]
    plain: type = inner[0] if inner else hint
    return plain


def find_recipe(kind: type[R], presets: Mapping[str, Recipe], which: str | None) -> R:
    """Return a task's recipe by the name of a preset, or read it from a file.

    Args:
        kind: the task's recipe class.
        presets: the task's presets by name.
        which: a name, or the path of a TOML file; None for the defaults.

    Raises:
        UnknownNameError: neither a preset nor a file.
        InputError: the file can't be read, or a setting in it is wrong.
    """
    if which is None:
        return kind()
    if which in presets:
        preset = presets[which]
        assert isinstance(preset, kind)
        return preset
    path = Path(which)
    if not path.exists() and path.suffix != ".toml":
        raise UnknownNameError("recipe (neither a preset nor a TOML file):", which, presets)
    return read_toml(path, kind)


GROUPS: Mapping[str, str] = {
    "schedule": "How long training goes on, and how the learning rate moves.",
    "optimisation": "How the weights are changed, by how much and on how many pictures at once.",
    "sampling": "Which pictures come together in a batch.",
    "augmentation": "How pictures are changed before they are learned from.",
    "regularisation": "What keeps the model from learning the pictures by heart.",
    "freezing": "What stays as it is.",
    "loss": "What is made small.",
    "running": "Where the randomness comes from, how exactly it computes, and what it does when something goes wrong.",
}


OTHERS = "other"  # the group of what no recipe has put into one


def grouped(kind: type[Any]) -> dict[str, tuple[str, ...]]:
    """Return the settings of a recipe by group: first those that every task has, then the task's own.

    A recipe names its groups in the class variable `groups`, and those of the classes it is made from hold for it too; where two of
    them put a setting into different groups, the more special one does.

    Args:
        kind: the recipe, a dataclass.
    """
    of: dict[str, str] = {}
    for part in reversed(kind.__mro__):
        of |= {name: group for group, names in vars(part).get("groups", {}).items() for name in names}
    settings = [setting.name for setting in fields(kind)]
    order = [*GROUPS, *of.values(), OTHERS]
    found = {group: tuple(name for name in settings if of.get(name, OTHERS) == group) for group in dict.fromkeys(order)}
    return {group: names for group, names in found.items() if names}


def explained(kind: type[Any]) -> dict[str, str]:
    """Return what each setting is for, from the docstrings ("Attributes") of the recipe and of the classes it is made from."""
    found: dict[str, str] = {}
    for part in reversed(kind.__mro__):
        known = docstring_parser.parse(vars(part).get("__doc__") or "").params
        found |= {said.arg_name: " ".join(said.description.split()) for said in known if said.description}
    return {setting.name: found.get(setting.name, "") for setting in fields(kind)}
