"""Optimiser, learning rate schedule, gradient scaling and moving average of the weights."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
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
from zoo.system.disk import tensor_bytes
from zoo.system.precision import Precision
from zoo.task.recipe import RunRecipe


class Optimization:
    """Optimiser, learning rate schedule, gradient scaler (for fp16) and moving average of the weights for a training run."""

    def __init__(
        self, model: Model, recipe: RunRecipe, steps: int, precision: Precision, device: torch.device, also: Sequence[nn.Parameter] = ()
    ) -> None:
        """Create the optimiser, schedule, gradient scaler and moving average for a run of `steps` optimiser steps.

        The model must be on `device`, with the layers frozen that are frozen at the start of the run. `also` are parameters outside the
        model to optimise without weight decay. Raise an `InputError` if the recipe doesn't fit the model or the device.
        """
        if recipe.optimizer not in list_optimizers():
            raise UnknownNameError("optimizer", recipe.optimizer, list_optimizers())
        if not any(parameter.requires_grad for parameter in model.parameters()):
            raise InputError(f"freeze is {model.config.freeze!r}, so there are no parameters to train; freeze fewer layers")
        if recipe.unfreeze_every and model.config.freeze == "none":
            raise InputError(
                f"unfreeze_every is {recipe.unfreeze_every}, but nothing is frozen; freeze the backbone "
                "(--freeze trunk), or set unfreeze_every to 0"
            )
        self._model, self._clip = model, recipe.clip_grad
        self.optimizer = _optimizer(model, recipe, device)
        if also:
            self.optimizer.add_param_group({"params": list(also), "weight_decay": 0.0, "lr": recipe.lr})
        self._scheduler = _scheduler(self.optimizer, recipe, steps)
        self.scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16")
        self._ema = ModelEmaV3(model, decay=recipe.ema, use_warmup=True) if recipe.ema else None

    @property
    def averaged(self) -> Model:
        """The model to evaluate and save: with the moving average of the weights or, without averaging, the trained model."""
        return self._model if self._ema is None else self._ema.module

    @property
    def lr(self) -> float:
        """Maximum learning rate over the parameter groups in the last step."""
        return max(float(group["lr"]) for group in self.optimizer.param_groups)

    def backward(self, loss: torch.Tensor) -> None:
        """Compute the gradients of a loss and accumulate them."""
        torch.autograd.backward(self.scaler.scale(loss))

    def step(self, done: int) -> None:
        """Take an optimiser step. `done` is the number of earlier steps."""
        self._scheduler.step_update(done)
        if any(parameter.grad is not None for parameter in self._parameters()):  # otherwise, all batches were skipped
            if self._clip:
                self.scaler.unscale_(self.optimizer)
                nn.utils.clip_grad_norm_(self._model.parameters(), self._clip)
            self.scaler.step(self.optimizer)
            self.scaler.update()
            self.optimizer.zero_grad(set_to_none=True)
        if self._ema is not None:
            self._ema.update(self._model, step=done + 1)

    def average_anew(self) -> None:
        """Restart the moving average from the current parameters."""
        if self._ema is not None:
            self._ema.set(self._model)

    def bytes_to_come(self) -> int:
        """Return the size in bytes of the state that the first step will create: about two values per parameter; 0 after that step."""
        if self.optimizer.state:
            return 0
        return 2 * tensor_bytes(self._parameters())

    def _parameters(self) -> list[torch.Tensor]:
        return [parameter for group in self.optimizer.param_groups for parameter in group["params"]]

    def state_dict(self) -> dict[str, Any]:
        """Return the state for a checkpoint. The schedule isn't included, because it depends only on the number of steps."""
        return {
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "ema": None if self._ema is None else self._ema.module.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the state from a checkpoint."""
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        if self._ema is not None:
            self._ema.module.load_state_dict(state["ema"])


def _optimizer(model: Model, recipe: RunRecipe, device: torch.device) -> torch.optim.Optimizer:
    """Create the optimiser for all parameters that are trained during the run, including those that are unfrozen later."""
    if recipe.optimizer.startswith("kron"):
        raise InputError(f"optimizer is {recipe.optimizer!r}, which compiles code for each weight shape for hours; choose another")
    frozen = model.config.freeze
    if recipe.unfreeze_every:
        freeze(model, "none")
    try:
        optimizer: torch.optim.Optimizer = create_optimizer_v2(
            model,
            **_kernels(recipe.optimizer, device, together=not (model.is_joint or recipe.unfreeze_every)),
            opt=recipe.optimizer,
            lr=recipe.lr,
            weight_decay=recipe.weight_decay,
            layer_decay=recipe.layer_decay if recipe.layer_decay < 1 else None,
        )
    except (AssertionError, ImportError) as error:  # timm also lists optimisers of CUDA libraries that aren't available here
        raise InputError(f"optimizer is {recipe.optimizer!r}, not available here ({error}); choose another, such as 'adamw'") from error
    finally:
        if recipe.unfreeze_every:
            freeze(model, frozen)
    if getattr(optimizer, "is_second_order", False):
        raise InputError(
            f"optimizer is {recipe.optimizer!r}, which needs second derivatives, but training computes only first derivatives; "
            "choose another one"
        )
    return optimizer


def _kernels(name: str, device: torch.device, together: bool) -> dict[str, bool]:
    """Return the keyword that enables fused kernels of an optimiser on CPUs, where torch doesn't use them by default; {} if there are none.

    With them, a step of AdamW takes a quarter of the time. Without them, it took a tenth of the training time of a ResNet-18.

    `together` is whether all parameters get their first gradient in the same step, which torch's fused SGD (2.14) requires.
    """
    kind = get_optimizer_class(name, bind_defaults=False)
    fuses = "fused" in inspect.signature(kind).parameters and (together or kind is not torch.optim.SGD)
    return {"fused": True} if fuses and device.type == "cpu" else {}


def _scheduler(optimizer: torch.optim.Optimizer, recipe: RunRecipe, steps: int) -> Scheduler:
    warmup = round(recipe.warmup * steps)
    rest = max(1, steps - warmup)
    scheduler, _ = create_scheduler_v2(
        optimizer,
        sched="step" if recipe.scheduler == "constant" else recipe.scheduler,
        num_epochs=rest,
        decay_epochs=math.ceil(rest / 3),
        decay_rate={"constant": 1.0, "step": 0.1}.get(recipe.scheduler, 1.0),  # for "poly", decay_rate is the power; 1 is linear
        min_lr=0.0,
        warmup_lr=recipe.lr / max(1, warmup),  # above 0, so that the first step has an effect
        warmup_epochs=warmup,
        warmup_prefix=True,
        step_on_epochs=False,
        updates_per_epoch=1,
    )
    assert scheduler is not None
    return scheduler
