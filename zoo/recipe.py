"""Training settings: a frozen, typed dataclass, written into every run as TOML."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

import tomli_w

from zoo.errors import InputError, UnknownNameError, check_positive

Precision = Literal["auto", "fp32", "bf16", "fp16"]


@dataclass(frozen=True)
class Recipe:
    """Settings that every task's training has; tasks subclass it with their own defaults and fields.

    Attributes:
        epochs: passes over the data; None for as many as make about `steps` steps (at least 2, at most 100).
        steps: optimiser steps aimed at where `epochs` is None.
        batch_size: pictures per step and process.
        lr: highest learning rate.
        optimizer: a timm optimiser ("adamw", "sgd", "lamb", …).
        weight_decay: of weights; biases and norms have none.
        scheduler: "cosine" (to nought) or "constant", after the warm-up.
        warmup: part of all steps in which the learning rate rises from nought.
        clip_grad: highest norm of the gradient; 0 for no limit.
        grad_accumulation: batches per optimiser step.
        ema: decay of the exponential moving average of the weights; 0 for none.
        seed: of initial order, augmentation and everything random in training.
        precision: "auto" takes bf16 where the processor gains from it.
        workers: loader processes; None for what suits the machine.
    """

    groups: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "schedule": ("epochs", "steps", "scheduler", "warmup"),
        "optimisation": ("batch_size", "lr", "optimizer", "weight_decay", "clip_grad", "grad_accumulation"),
        "regularisation": ("ema",),
        "running": ("seed", "precision", "workers"),
    }

    epochs: int | None = None
    steps: int = 1000
    batch_size: int = 32
    lr: float = 1e-3
    optimizer: str = "adamw"
    weight_decay: float = 0.05
    scheduler: Literal["cosine", "constant"] = "cosine"
    warmup: float = 0.1
    clip_grad: float = 0.0
    grad_accumulation: int = 1
    ema: float = 0.0
    seed: int = 0
    precision: Precision = "auto"
    workers: int | None = None

    def __post_init__(self) -> None:
        """Refuse settings that can't work.

        Raises:
            InputError: naming the setting and its value.
        """
        check_positive("recipe", steps=self.steps, batch_size=self.batch_size, lr=self.lr, grad_accumulation=self.grad_accumulation)
        if self.batch_size < 2:
            raise InputError("recipe: batch_size is 1; expected 2 or more, batch-norm can't train on one picture")
        if self.epochs is not None and self.epochs < 1:
            raise InputError(f"recipe: epochs is {self.epochs}; expected 1 or more")
        for name, value in {"warmup": self.warmup, "ema": self.ema}.items():
            if not 0 <= value < 1:
                raise InputError(f"recipe: {name} is {value}; expected a part from 0 to below 1")
        if self.weight_decay < 0 or self.clip_grad < 0:
            raise InputError("recipe: weight_decay and clip_grad must not be negative")
        if self.scheduler not in ("cosine", "constant"):
            raise InputError(f"recipe: scheduler is {self.scheduler!r}; expected 'cosine' or 'constant'")
        if self.precision not in ("auto", "fp32", "bf16", "fp16"):
            raise InputError(f"recipe: precision is {self.precision!r}; expected auto, fp32, bf16 or fp16")
        if self.workers is not None and self.workers < 0:
            raise InputError(f"recipe: workers is {self.workers}; expected 0 or more")


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
    defaults = {setting.name: getattr(recipe, setting.name) for setting in fields(recipe)}
    for name, value in values.items():
        if name not in defaults:
            raise UnknownNameError(f"recipe setting of {origin}:", name, defaults)
        default = defaults[name]
        kind = int if default is None else type(default)  # what is left to the zoo by default are counts
        right = isinstance(value, int | float) if kind is float else isinstance(value, kind)
        if not right or (isinstance(value, bool) and kind is not bool):
            raise InputError(f"{origin}: {name} is {value!r}; expected {_WORDS[kind]}, such as {1 if default is None else default!r}")
    return replace(recipe, **values)
