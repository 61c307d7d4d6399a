"""From batches to gradients: forward, backward, and what the processes of a job have to agree on in between."""

from __future__ import annotations

import contextlib
import math
from typing import Any

import torch
from timm.layers import convert_sync_batchnorm
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from zoo.errors import ZooError
from zoo.kernels.overrides import has_norm_kernels, training_kernels
from zoo.models.model import Model
from zoo.system.hardware import autocast
from zoo.system.precision import Precision
from zoo.system.processes import Processes
from zoo.system.progress import Progress
from zoo.task.contract import Task
from zoo.task.pooling import AnyBatch, AnyImages, PooledBatch
from zoo.task.recipe import Recipe
from zoo.training.features.trunk import has_small_head, learns_from_features
from zoo.training.optimization import Optimization


def share_norm(model: Model, processes: Processes, progress: Progress) -> None:
    """Let batch-norm count the pictures of all processes, where there are several and the device can; say so where it can't."""
    learns = any(isinstance(module, _BatchNorm) and module.weight.requires_grad for module in model.modules())
    if processes.count == 1 or not learns:
        return
    if processes.device.type == "cuda":
        convert_sync_batchnorm(model)
    else:
        progress.say("batch-norm counts each process's own pictures: SyncBatchNorm needs a GPU (--freeze norm does without)")


class Gradients:
    """Those of one run: batches are added up, and a step uses them up.

    Attributes:
        norm_kernels: whether batch-norm is computed by kernels of the zoo's own, whose last bits differ from torch's.
    """

    def __init__(
        self, model: Model, task: Task, recipe: Recipe, processes: Processes, precision: Precision, optimization: Optimization,
        progress: Progress,
    ) -> None:  # fmt: skip
        """Set up; `wrap` comes before the first batch.

        Args:
            model: on its device.
            task: the model's.
            recipe: the settings.
            processes: this one and the others.
            precision: of the forward pass.
            optimization: of the same model.
            progress: told of batches that are left out.
        """
        self._model, self._task, self._recipe, self._processes = model, task, recipe, processes
        self._precision, self._optimization, self._progress = precision, optimization, progress
        alone = learns_from_features(model, recipe)
        if alone and precision == "bf16" and has_small_head(model, recipe):
            self._precision = "fp32"
        self.norm_kernels = not alone and has_norm_kernels(precision, processes.device)
        self._shared = True  # whether the gradients in hand are the mean over the processes

    def wrap(self) -> None:
        """Let the processes share what learns now; to be called again when that changes."""
        self._wrapped = self._processes.accelerator.prepare_model(self._model, device_placement=False)

    def add(self, batch: AnyBatch, share: float, number: int, last: bool) -> dict[str, float] | None:
        """Add a batch, which every process has a part of.

        Args:
            batch: this process's part; it has pictures.
            share: which part of the pictures of all processes it has: its mean loss counts for as much of the mean over all.
            number: of the batch in the run, for messages.
            last: whether a step follows.

        Returns:
            The named losses, means over the pictures of all processes; None where they are no numbers and the recipe leaves the batch out.

        Raises:
            ZooError: they are not numbers.
        """
        assert batch.images is not None
        targets = move(self._task.data.collate_targets(batch.targets), self._processes.device)
        images: AnyImages = batch.images.to(self._processes.device)
        place = self._precision, self._processes.device
        kernels: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
        if isinstance(images, PooledBatch):  # for a head alone there are no kernels
            targets = self._task.data.soften(self._recipe, targets, len(self._model.classes))
        else:
            images, targets = self._task.data.mix(self._recipe, images, targets, len(self._model.classes))
            kernels = training_kernels(self._model, *place, self.norm_kernels)
        count, before = self._processes.count, self._statistics()
        # gradients travel once a step: with its last batch
        alone = self._processes.accelerator.no_sync(self._wrapped) if count > 1 and not last else contextlib.nullcontext()
        with alone:
            with autocast(*place), kernels:
                losses: dict[str, Tensor] = self._wrapped(images, targets)
            total = torch.stack(list(losses.values())).sum() if len(losses) > 1 else next(iter(losses.values()))
            own, whole = {name: float(value.detach()) for name, value in losses.items()}, float(total.detach())
            finite, *means = self._processes.sums(math.isfinite(whole), *(value * share for value in own.values()))
            if finite < count:
                self._not_finite(whole, batch.keys, number)
                self._restore(before)
                return None
            # the mean over processes, which gradients are, of what weighs as much as its pictures
            self._optimization.backward(total * (share * count) / self._recipe.grad_accumulation)
        self._shared = count == 1 or last
        return dict(zip(own, means, strict=True))

    def step(self, done: int) -> None:
        """Move the parameters, and forget the gradients.

        Args:
            done: optimiser steps before this one.
        """
        if not self._shared:  # the last batch, which should have done it, was left out
            self._processes.average(self._model.parameters())
            self._shared = True
        self._optimization.step(done)

    def check_weights(self) -> None:
        """Refuse weights that are no numbers, before anything is scored with them.

        Raises:
            ZooError: naming the first of them.
        """
        state = self._optimization.averaged.state_dict()
        name = next((name for name, tensor in state.items() if not torch.isfinite(tensor).all()), None)
        if name is not None:
            raise self._processes.once(
                ZooError(
                    f"training has left no numbers in the model's weights (first of all in {name}); lower --lr, set --clip-grad or use "
                    "--precision fp32. The last checkpoint is from before"
                )
            )

    def _statistics(self) -> list[Tensor]:
        """Return what a batch changes by passing through the model, where a batch may be left out: the statistics of batch-norm."""
        return [buffer.clone() for buffer in self._model.buffers()] if self._recipe.on_nan == "skip" else []

    def _restore(self, before: list[Tensor]) -> None:
        for buffer, kept in zip(self._model.buffers(), before, strict=True):
            buffer.copy_(kept)

    def _not_finite(self, loss: float, keys: tuple[str, ...], number: int) -> None:
        """Stop, or leave the batch out.

        Raises:
            ZooError: naming the batch's samples.
        """
        told = self._processes.joined([] if math.isfinite(loss) else [f"{loss} at batch {number} ({', '.join(keys)})"])
        what = f"the loss became {' and '.join(told)}"
        if self._recipe.on_nan == "stop":
            raise self._processes.once(
                ZooError(f"{what}; look at these pictures, lower --lr, set --clip-grad, use --precision fp32, or go on with --on-nan skip")
            )
        self._progress.say(f"left out: {what}")


def move(targets: Any, device: torch.device) -> Any:
    """Move tensors inside lists and dicts to a device."""
    if isinstance(targets, torch.Tensor):
        return targets.to(device)
    if isinstance(targets, dict):
        return {name: move(value, device) for name, value in targets.items()}
    if isinstance(targets, list | tuple):
        return [move(value, device) for value in targets]
    return targets
