"""The processes of one job: what they agree on, and what becomes of the others when one of them ends."""

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

# how long one waits for another that lives and doesn't answer; the end of one is noticed at once
_PATIENCE = timedelta(minutes=10)
_GONE = re.compile(r"gloo|nccl|connection (was )?(closed|reset|refused)|broken pipe|timed? ?out", re.IGNORECASE)
T = TypeVar("T")
E = TypeVar("E", bound=ZooError)


class Processes:
    """The processes that torchrun has started, or the one there is.

    Attributes:
        accelerator: Accelerate's view of them.
        count: how many.
        rank: which of them this one is.
        device: where this one computes.
    """

    def __init__(self, device: torch.device) -> None:
        """Join the others.

        Args:
            device: where to compute; of several processes each has its own.
        """
        _join_again(device)
        self.accelerator = Accelerator(cpu=device.type == "cpu", kwargs_handlers=[InitProcessGroupKwargs(timeout=_PATIENCE)])
        self.count, self.rank = int(self.accelerator.num_processes), int(self.accelerator.process_index)
        self.device = device if self.count == 1 else self.accelerator.device

    @property
    def first(self) -> bool:
        """Whether this is the one that writes and prints."""
        return self.rank == 0

    def sums(self, *values: float) -> list[float]:
        """Add up numbers over the processes, which must all ask."""
        if self.count == 1:
            return list(values)
        summed: torch.Tensor = self.accelerator.reduce(torch.tensor(values, dtype=torch.float64, device=self.device))
        return [float(value) for value in summed]

    def everywhere(self, condition: bool) -> bool:
        """Tell whether a condition holds in every process, which must all ask."""
        return self.sums(float(condition)) == [self.count]

    def joined(self, items: Iterable[T]) -> list[T]:
        """Return the items of all processes, which must all ask, in their order."""
        return list(items) if self.count == 1 else list(gather_object(list(items)))

    def wait(self) -> None:
        """Wait until all are here."""
        self.accelerator.wait_for_everyone()

    def average(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Replace gradients by their mean over the processes."""
        for parameter in parameters:
            if parameter.grad is not None:
                dist.all_reduce(parameter.grad)
                parameter.grad /= self.count

    def once(self, error: E) -> E:
        """Mark an error that all processes raise: the first alone prints it."""
        error.said = not self.first
        return error

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Do what needs no other process in all of them; where it fails in one, it fails in all.

        Raises:
            ZooError: this one's, or that of the first process that has one.
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
    """Say clearly that another process has ended, when this one finds out.

    Raises:
        ZooError: saying so, and how to go on.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    try:
        yield
    except RuntimeError as error:
        if count == 1 or not (isinstance(error, dist.DistError) or _GONE.search(str(error))):
            raise
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ZooError(
            f"process {os.environ.get('RANK')} of {count}: another process of this job has ended, so this one ends too ({reason}); its own "
            "message is above, if it had one. Start again: training continues with --resume (torchrun --max-restarts 1 does so by itself)"
        ) from error


def _join_again(device: torch.device) -> None:
    """Join the others after torchrun has started all of them again.

    Torchrun (torch 2.14) keeps one store over all attempts, and the addresses that the first attempt's processes have left there
    are taken for those of the second's: each later attempt has names of its own here.
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
