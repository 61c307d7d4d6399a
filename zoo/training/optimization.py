"""How parameters move: optimiser, schedule of the learning rate, gradient scaling, and the moving average of the weights."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from typing import Any

import torch
from timm.optim import create_optimizer_v2, get_optimizer_class, list_optimizers
from timm.scheduler import create_scheduler_v2
from timm.scheduler.scheduler import Scheduler
from timm.utils import ModelEmaV3
from torch import nn

from zoo.errors import InputError, UnknownNameError
from zoo.models.freezing import freeze
from zoo.models.model import Model
from zoo.system.precision import Precision
from zoo.task.recipe import Recipe


class Optimization:
    """Optimiser, schedule, gradient scaler and weight average of one run.

    Attributes:
        averaged: the model to score and to keep: the moving average, or the model itself without one.
    """

    def __init__(self, model: Model, recipe: Recipe, steps: int, precision: Precision, device: torch.device) -> None:
        """Set everything up.

        Args:
            model: on its device, frozen as the run begins.
            recipe: the settings.
            steps: optimiser steps of the whole run.
            precision: of the forward pass; fp16 needs its loss scaled.
            device: where the model is.

        Raises:
            UnknownNameError: an optimiser that timm doesn't have.
            InputError: nothing is left to train, or to set free later, or the optimiser can't be had here.
        """
        if recipe.optimizer not in list_optimizers():
            raise UnknownNameError("optimizer", recipe.optimizer, list_optimizers())
        if not any(parameter.requires_grad for parameter in model.parameters()):
            raise InputError(f"freeze is {model.config.freeze!r}, which leaves nothing to train; freeze less")
        if recipe.unfreeze_every and model.config.freeze == "none":
            raise InputError(
                f"unfreeze_every is {recipe.unfreeze_every}, but nothing is frozen that could learn later; freeze something "
                "(--freeze trunk), or set unfreeze_every to 0"
            )
        self._model, self._clip = model, recipe.clip_grad
        self.optimizer = _optimizer(model, recipe, device)
        self._scheduler = _scheduler(self.optimizer, recipe, steps)
        self.scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16")
        self._ema = ModelEmaV3(model, decay=recipe.ema, use_warmup=True) if recipe.ema else None

    @property
    def averaged(self) -> Model:
        """The model to score and to keep."""
        return self._model if self._ema is None else self._ema.module

    @property
    def lr(self) -> float:
        """The highest learning rate of the last step."""
        return max(float(group["lr"]) for group in self.optimizer.param_groups)

    def backward(self, loss: torch.Tensor) -> None:
        """Add a loss to the gradients."""
        scaled: torch.Tensor = self.scaler.scale(loss)
        torch.autograd.backward(scaled)

    def step(self, done: int) -> None:
        """Move the parameters, and forget the gradients; without any, because all batches were left out, time passes alone.

        Args:
            done: optimiser steps before this one.
        """
        self._scheduler.step_update(done)
        if any(parameter.grad is not None for group in self.optimizer.param_groups for parameter in group["params"]):
            if self._clip:
                self.scaler.unscale_(self.optimizer)
                nn.utils.clip_grad_norm_(self._model.parameters(), self._clip)
            self.scaler.step(self.optimizer)
            self.scaler.update()
            self.optimizer.zero_grad(set_to_none=True)
        if self._ema is not None:
            self._ema.update(self._model, step=done + 1)

    def average_anew(self) -> None:
        """Let the moving average begin at the parameters as they are."""
        if self._ema is not None:
            self._ema.set(self._model)

    def bytes_to_come(self) -> int:
        """Return about what the optimiser's memory will take, which it has only after the first step: two numbers a parameter."""
        if self.optimizer.state:
            return 0
        parameters: list[torch.Tensor] = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        return 2 * sum(parameter.numel() * parameter.element_size() for parameter in parameters)

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint holds of it; the schedule follows from the number of steps."""
        return {
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "ema": None if self._ema is None else self._ema.module.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        if self._ema is not None:
            self._ema.module.load_state_dict(state["ema"])


def _optimizer(model: Model, recipe: Recipe, device: torch.device) -> torch.optim.Optimizer:
    """Return the optimiser over all that will be trained at any time: also what a gradual schedule sets free later.

    Raises:
        InputError: its library isn't installed, it needs another device, more than gradients, or hours before the first step.
    """
    if recipe.optimizer.startswith("kron"):
        raise InputError(f"optimizer is {recipe.optimizer!r}, which compiles code for every shape of weights, for hours; choose another")
    frozen = model.config.freeze
    if recipe.unfreeze_every:
        freeze(model, "none")
    try:
        optimizer: torch.optim.Optimizer = create_optimizer_v2(
            model,
            **_kernels(recipe.optimizer, device),
            opt=recipe.optimizer,
            lr=recipe.lr,
            weight_decay=recipe.weight_decay,
            layer_decay=recipe.layer_decay if recipe.layer_decay < 1 else None,
        )
    except (AssertionError, ImportError) as error:  # timm lists those of CUDA's libraries everywhere
        raise InputError(f"optimizer is {recipe.optimizer!r}, which can't be had here ({error}); choose another, as 'adamw'") from error
    finally:
        if recipe.unfreeze_every:
            freeze(model, frozen)
    if getattr(optimizer, "is_second_order", False):
        raise InputError(f"optimizer is {recipe.optimizer!r}, which needs second derivatives; training has first ones, choose another")
    return optimizer


def _kernels(name: str, device: torch.device) -> dict[str, bool]:
    """Return what lets an optimiser move all numbers of a tensor in one pass, where it can: on processors torch doesn't by itself.

    A step of AdamW takes a quarter of the time then, which was a tenth of a ResNet-18's.
    """
    fuses = "fused" in inspect.signature(get_optimizer_class(name, bind_defaults=False)).parameters
    return {"fused": True} if fuses and device.type == "cpu" else {}


def _scheduler(optimizer: torch.optim.Optimizer, recipe: Recipe, steps: int) -> Scheduler:
    warmup = round(recipe.warmup * steps)
    rest = max(1, steps - warmup)
    scheduler, _ = create_scheduler_v2(
        optimizer,
        sched="step" if recipe.scheduler == "constant" else recipe.scheduler,
        num_epochs=rest,
        decay_epochs=math.ceil(rest / 3),
        decay_rate={"constant": 1.0, "step": 0.1}.get(recipe.scheduler, 1.0),  # a polynomial's power is 1
        min_lr=0.0,
        warmup_lr=recipe.lr / max(1, warmup),  # no step is without effect: the first has a rate, and so has the last
        warmup_epochs=warmup,
        warmup_prefix=True,
        step_on_epochs=False,
        updates_per_epoch=1,
    )
    assert scheduler is not None
    return scheduler
