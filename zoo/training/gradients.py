"""Forward and backward passes, with gradients synchronised between the processes of a run."""

from __future__ import annotations

import contextlib
import math

import torch
from accelerate.utils import DistributedDataParallelKwargs, send_to_device
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
from zoo.task.head import AnyBatch, PooledBatch
from zoo.training.batches import RunData
from zoo.training.optimization import Optimization
from zoo.training.weighting import LossWeights


def share_norm(model: Model, processes: Processes, progress: Progress) -> None:
    """Synchronise batch-norm statistics between processes, or print a message if the device doesn't support it."""
    learns = any(isinstance(module, _BatchNorm) and module.weight.requires_grad for module in model.modules())
    if processes.count == 1 or not learns:
        return
    if processes.device.type == "cuda":
        convert_sync_batchnorm(model)
    else:
        progress.say("batch-norm statistics are computed per process: SyncBatchNorm needs a GPU (--freeze norm uses fixed statistics)")


class Gradients:
    """Accumulates gradients over batches and passes them to the optimiser.

    `norm_kernels` is whether the kernels of this package compute batch-norm. Their results differ from those of torch by rounding errors.
    """

    def __init__(self, data: RunData, precision: Precision, optimization: Optimization, weights: LossWeights) -> None:
        """Create the accumulator. The model must be on its device, and `wrap` must be called before the first batch."""
        self._model, self._streams, self._recipe, self._processes = data.model, data.streams, data.recipe, data.processes
        self._precision, self._optimization, self._progress = precision, optimization, data.reading.progress
        self._weights = weights
        alone = data.learns_from_features
        if alone and precision == "bf16" and data.has_small_heads:
            self._precision = "fp32"
        self.norm_kernels = not alone and has_norm_kernels(precision, data.processes.device)
        self._shared = True  # whether the current gradients are the mean over the processes

    def wrap(self) -> None:
        """Prepare the model for gradient synchronisation. This must be repeated whenever other parameters become trainable."""
        if self._model.is_joint:  # a batch trains only some of the heads
            self._processes.accelerator.ddp_handler = DistributedDataParallelKwargs(find_unused_parameters=True)
        self._wrapped = self._processes.accelerator.prepare_model(self._model, device_placement=False)

    def add(self, batch: AnyBatch, share: float, number: int, last: bool) -> dict[str, float] | None:
        """Run the forward and backward pass of this process's subset of a batch, with at least one image.

        `share` is the subset's fraction of the images of the whole batch, and the weight of its mean loss. `number` is the batch's number
        in the run, for messages. `last` is whether an optimiser step follows. Return the losses by name, averaged over the images of all
        processes and not weighted; None if the batch is skipped because its loss isn't finite.
        """
        assert batch.images is not None
        stream = self._streams[batch.source]
        place = self._precision, self._processes.device
        images, by_head = stream.mixed(
            batch.images.to(self._processes.device), send_to_device(stream.targets(batch.targets), self._processes.device)
        )
        targets = by_head if self._model.is_joint else next(iter(by_head.values()))
        kernels: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
        if not isinstance(images, PooledBatch):  # the kernels are used only in the backbone
            kernels = training_kernels(self._model, *place, self.norm_kernels)
        count = self._processes.count
        # the forward pass updates batch-norm statistics, which must be restored if the batch is skipped
        before = [buffer.clone() for buffer in self._model.buffers()] if self._recipe.on_nan == "skip" else []
        # gradients are synchronised once per optimiser step, with its last batch
        alone = self._processes.accelerator.no_sync(self._wrapped) if count > 1 and not last else contextlib.nullcontext()
        with alone:
            with autocast(*place), kernels:
                losses: dict[str, Tensor] = self._wrapped(images, targets)
            total = self._weights(losses)
            own, whole = {name: float(value.detach()) for name, value in losses.items()}, float(total.detach())
            finite, *means = self._processes.sums(math.isfinite(whole), *(value * share for value in own.values()))
            if finite < count:
                self._not_finite(whole, batch.keys, number)
                for buffer, kept in zip(self._model.buffers(), before, strict=True):
                    buffer.copy_(kept)
                return None
            # gradients are averaged over the processes; share * count weights each process by its number of images
            self._optimization.backward(total * (share * count) / self._recipe.grad_accumulation)
        self._shared = count == 1 or last
        return dict(zip(own, means, strict=True))

    def step(self, done: int) -> None:
        """Update the parameters and clear the gradients. `done` is the number of earlier optimiser steps."""
        if not self._shared:  # the last batch, with which gradients are synchronised, was skipped
            self._processes.average(self._model.parameters())
            self._shared = True
        if self._processes.count > 1:
            self._processes.average(self._weights.parameters())
        self._optimization.step(done)

    def check_weights(self) -> None:
        """Raise a `ZooError` if a weight isn't finite. This may happen with a finite loss, because gradients can overflow."""
        state = self._optimization.averaged.state_dict()
        name = next((name for name, tensor in state.items() if not torch.isfinite(tensor).all()), None)
        if name is not None:
            raise self._processes.once(
                ZooError(
                    f"the model's weights have become NaN or infinite (first in {name}); lower --lr, set --clip-grad or use --precision "
                    "fp32. Checkpoints saved earlier contain only finite weights"
                )
            )

    def _not_finite(self, loss: float, keys: tuple[str, ...], number: int) -> None:
        """Raise a `ZooError` that lists the samples of the batch, or print a message if `on_nan` is "skip"."""
        losses = self._processes.joined([] if math.isfinite(loss) else [f"{loss} at batch {number} ({', '.join(keys)})"])
        what = f"the loss became {' and '.join(losses)}"
        if self._recipe.on_nan == "stop":
            raise self._processes.once(
                ZooError(f"{what}; check these images, lower --lr, set --clip-grad, use --precision fp32, or continue with --on-nan skip")
            )
        self._progress.say(f"skipped: {what}")
