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

# timeout for a process that is alive but doesn't respond; the end of a process is noticed at once
_PATIENCE = timedelta(minutes=10)
_GONE = re.compile(r"gloo|nccl|connection (was )?(closed|reset|refused)|broken pipe|timed? ?out", re.IGNORECASE)
T = TypeVar("T")
E = TypeVar("E", bound=ZooError)


class Processes:
    """The processes started by torchrun, or the only process; creating it joins the process group.

    With several processes, each computes on the device that Accelerate assigns to it, not on the given one.
    """

    def __init__(self, device: torch.device) -> None:
        _join_again(device)
        self.accelerator = Accelerator(cpu=device.type == "cpu", kwargs_handlers=[InitProcessGroupKwargs(timeout=_PATIENCE)])
        self.count, self.rank = int(self.accelerator.num_processes), int(self.accelerator.process_index)
        self.device = device if self.count == 1 else self.accelerator.device

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes files and prints."""
        return self.rank == 0

    def sums(self, *values: float) -> list[float]:
        """Return the sums of numbers over all processes, each of which must call this."""
        if self.count == 1:
            return list(values)
        summed: torch.Tensor = self.accelerator.reduce(torch.tensor(values, dtype=torch.float64, device=self.device))
        return [float(value) for value in summed]

    def joined(self, items: Iterable[T]) -> list[T]:
        """Return the items of all processes in the order of their ranks; every process must call this."""
        return list(items) if self.count == 1 else list(gather_object(list(items)))

    def wait(self) -> None:
        """Wait until all processes have reached this point."""
        self.accelerator.wait_for_everyone()

    def average(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Replace gradients by their mean over all processes."""
        for parameter in parameters:
            if parameter.grad is not None:
                dist.all_reduce(parameter.grad)
                parameter.grad /= self.count

    def once(self, error: E) -> E:
        """Mark an error that all processes raise, so that only the first process prints it."""
        error.said = not self.first
        return error

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Run the body, which must not communicate, in all processes; if it fails in one of them, raise an error in all of them.

        A process raises its own error, otherwise that of the first process that failed.
        """
        own: ZooError | None = None
        try:
            yield
        except ZooError as error:
            own = error
        texts = [own] if self.count == 1 else gather_object([None if own is None else str(own)])
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
    """Raise a `ZooError` that tells how to continue when another process of the job has ended."""
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

    Torchrun (torch 2.14) uses one store for all attempts. Addresses left there by the processes of the first attempt would be mistaken for
    those of the second, so each later attempt uses a separate prefix.
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
