"""Processes of a distributed job: collective operations, and handling of failures in other processes."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs, gather_object
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from zoo.errors import ZooError

# timeout for a process that is alive but doesn't respond; the end of a process is detected at once
_PATIENCE = timedelta(minutes=10)
_GONE = re.compile(r"gloo|nccl|connection (was )?(closed|reset|refused)|broken pipe|timed? ?out", re.IGNORECASE)
T = TypeVar("T")


class Processes:
    """Interface to the processes started by torchrun, or to a single process. Creating an instance joins the process group.

    If there are several processes, each computes on the device that Accelerate assigns to it. The argument `device` then only determines
    whether to use the CPU.
    """

    def __init__(self, device: torch.device) -> None:
        _join_again(device)
        self.accelerator = Accelerator(cpu=device.type == "cpu", kwargs_handlers=[InitProcessGroupKwargs(timeout=_PATIENCE)])
        self.count, self.rank = int(self.accelerator.num_processes), int(self.accelerator.process_index)
        self.device = device if self.count == 1 else self.accelerator.device

    @property
    def first(self) -> bool:
        """Whether this is the first process, which alone writes files and prints."""
        return self.rank == 0

    def sums(self, *values: float) -> list[float]:
        """Return the sum of each value over all processes. Every process must call this method."""
        if self.count == 1:
            return list(values)
        summed: torch.Tensor = self.accelerator.reduce(torch.tensor(values, dtype=torch.float64, device=self.device))
        return [float(value) for value in summed]

    def joined(self, items: Iterable[T]) -> list[T]:
        """Return the items of all processes in the order of their ranks. Every process must call this method."""
        return list(items) if self.count == 1 else list(gather_object(list(items)))

    def wait(self) -> None:
        """Wait until all processes have reached this point."""
        self.accelerator.wait_for_everyone()

    def average(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Replace each gradient with its mean over all processes."""
        for parameter in parameters:
            if parameter.grad is not None:
                dist.all_reduce(parameter.grad)
                parameter.grad /= self.count

    def once(self, error: ZooError) -> ZooError:
        """Mark an error that all processes raise, so that only the first process prints it."""
        error.said = not self.first
        return error

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Run the body in all processes, and raise an error in all of them if it fails in any of them.

        A process whose body failed raises its own error. All others raise the error of the first process that failed. The body must not
        communicate with other processes.
        """
        own: ZooError | None = None
        try:
            yield
        except ZooError as error:
            own = error
        texts = self.joined([None if own is None else str(own)])
        failed = [rank for rank, text in enumerate(texts) if text is not None]
        if own is not None:
            own.said = failed[0] != self.rank
            raise own
        if failed:
            other = ZooError(f"process {failed[0]} of this job: {texts[failed[0]]}")
            other.said = True
            raise other


@contextlib.contextmanager
def bound() -> Iterator[None]:
    """If the body fails because another process of the job has ended, raise a `ZooError` that explains how to continue."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    try:
        yield
    except RuntimeError as error:
        if count == 1 or not (isinstance(error, dist.DistError) or _GONE.search(str(error))):
            raise
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ZooError(
            f"process {os.environ.get('RANK')} of {count}: another process of this job has ended, so this one ends too ({reason}); see its "
            "message above, if any. Start again: training continues with --resume (torchrun --max-restarts 1 does this automatically)"
        ) from error


def _join_again(device: torch.device) -> None:
    """Join the process group after torchrun has restarted all processes.

    Torchrun (torch 2.14) uses one store for all attempts. Processes of a second attempt would mistake the addresses left there by the first
    attempt for current ones, so each later attempt uses a separate prefix.
    """
    attempt = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))
    if attempt == 0 or int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        return
    store, rank, count = next(rendezvous("env://", timeout=_PATIENCE))
    dist.init_process_group(
        dist.get_default_backend_for_device(device),
        store=PrefixStore(f"attempt_{attempt}", store),
        rank=rank,
        world_size=count,
        timeout=_PATIENCE,
    )
