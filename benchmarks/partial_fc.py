"""A margin head over very many identities, all of them or a sample each step: `python -m zoo.benchmarks.partial_fc`.

Random embeddings of one batch, an ArcFace head and AdamW. Each head is measured in a process of its own, so that its peak memory
belongs to nothing else; the trunk is not part of it. Loss and optimiser are measured apart: a sampled head's gradient is dense (see
`zoo.tasks.face.embedding.losses`), so that AdamW's pass and averages are those of all identities, whatever is drawn. What is promised is
of the loss.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection

from rich.console import Console
from rich.table import Table

from zoo.errors import InputError, check_positive

LOSS_RATIO = 4.0  # times as fast from embeddings to gradients
MEMORY_RATIO = 2.0  # times as little memory for centres, logits and gradients


@dataclass(frozen=True)
class Setting:
    """What is measured.

    Attributes:
        identities: people in the training data.
        embedding_size: numbers per embedding.
        batch_size: pictures per step.
        sample_rate: the part of the identities that the sampled head compares with.
        steps: timed ones; one more comes before them.
        threads: that torch computes with.
    """

    identities: int
    embedding_size: int
    batch_size: int
    sample_rate: float
    steps: int
    threads: int

    def __post_init__(self) -> None:
        """Refuse what can't be measured.

        Raises:
            InputError: a number that is not above 0, or a rate of 1 and more.
        """
        check_positive("partial_fc", **asdict(self))
        if self.sample_rate >= 1:
            raise InputError(f"partial_fc: sample_rate is {self.sample_rate}; expected a part below 1: the full head is measured beside it")


@dataclass(frozen=True)
class HeadCost:
    """What a step of one head costs.

    Attributes:
        name: which head.
        loss_seconds: from embeddings to gradients, median over the steps.
        optimizer_seconds: the optimiser's pass, likewise.
        loss_mib: most memory of the process until the first gradients are there, above what the libraries held before the head.
        peak_mib: the same over all steps, with the optimiser's averages.
    """

    name: str
    loss_seconds: float
    optimizer_seconds: float
    loss_mib: float
    peak_mib: float

    @property
    def seconds(self) -> float:
        """Of a whole step."""
        return self.loss_seconds + self.optimizer_seconds


@dataclass(frozen=True)
class Comparison:
    """Both heads.

    Attributes:
        full: compares with all identities (pytorch-metric-learning's ArcFace).
        sampled: compares with a sample.
    """

    full: HeadCost
    sampled: HeadCost

    @property
    def loss_ratio(self) -> float:
        """How many times as fast the sampled head is from embeddings to gradients."""
        return self.full.loss_seconds / self.sampled.loss_seconds

    @property
    def step_ratio(self) -> float:
        """How many times as fast its whole step is."""
        return self.full.seconds / self.sampled.seconds

    @property
    def memory_ratio(self) -> float:
        """How many times as much memory the full head takes, without the optimiser."""
        return self.full.loss_mib / self.sampled.loss_mib

    @property
    def peak_ratio(self) -> float:
        """The same with the optimiser."""
        return self.full.peak_mib / self.sampled.peak_mib

    @property
    def met(self) -> bool:
        """Whether time and memory are what is promised of the sampled head."""
        return self.loss_ratio >= LOSS_RATIO and self.memory_ratio >= MEMORY_RATIO


def compare(setting: Setting) -> Comparison:
    """Measure the full head, then the sampled one, each in a new process."""
    return Comparison(_in_new_process("full", 1.0, setting), _in_new_process("sampled", setting.sample_rate, setting))


def _in_new_process(name: str, sample_rate: float, setting: Setting) -> HeadCost:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    child = context.Process(target=_send_cost, args=(name, sample_rate, setting, there))
    child.start()
    there.close()
    cost: HeadCost = here.recv()
    child.join()
    return cost


def _send_cost(name: str, sample_rate: float, setting: Setting, results: Connection) -> None:
    results.send(measure(name, sample_rate, setting))


def measure(name: str, sample_rate: float, setting: Setting) -> HeadCost:
    """Take a head's steps in this process."""
    import torch
    from torch.nn import functional as F

    from zoo.benchmarks.harness.machine import peak_memory_mib
    from zoo.tasks.face.embedding.losses import make_loss
    from zoo.tasks.face.embedding.options import FaceOptions

    torch.set_num_threads(setting.threads)
    torch.manual_seed(0)
    torch.optim.AdamW([torch.zeros(1, requires_grad=True)]).step()  # what it loads is not the head's
    before = peak_memory_mib()
    head = make_loss(setting.identities, FaceOptions(embedding_size=setting.embedding_size, sample_rate=sample_rate))
    optimizer = torch.optim.AdamW(head.parameters(), lr=1e-3)
    embeddings = F.normalize(torch.randn(setting.batch_size, setting.embedding_size)).requires_grad_()
    identities = torch.randint(setting.identities, (setting.batch_size,))
    losses, passes, first = [], [], 0.0
    for step in range(setting.steps + 1):
        losses.append(_seconds(lambda: torch.autograd.backward(head(embeddings, identities))))
        first = first or peak_memory_mib()
        passes.append(_seconds(optimizer.step))
        optimizer.zero_grad(set_to_none=True)
        if not step:  # the first allocates, and sets up the optimiser's averages
            losses, passes = [], []
    return HeadCost(name, statistics.median(losses), statistics.median(passes), first - before, peak_memory_mib() - before)


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line.

    Returns:
        0 where time and memory are what is promised, 1 where they aren't, 2 where the flags can't be meant.
    """
    parser = argparse.ArgumentParser(prog="python -m zoo.benchmarks.partial_fc", description=__doc__)
    parser.add_argument("--identities", type=int, default=1_000_000, help="people in the training data")
    parser.add_argument("--embedding-size", type=int, default=128, help="numbers per embedding")
    parser.add_argument("--batch-size", type=int, default=64, help="pictures per step")
    parser.add_argument("--sample-rate", type=float, default=0.1, help="part of the identities that the sampled head compares with")
    parser.add_argument("--steps", type=int, default=5, help="timed steps of each head")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="that torch computes with")
    parser.add_argument("--json", action="store_true", help="print one JSON object on standard output, and nothing else there")
    flags = vars(parser.parse_args(argv))
    as_json = flags.pop("json")
    try:
        setting = Setting(**flags)
    except InputError as error:
        print(f"partial_fc: {error}", file=sys.stderr)
        return error.exit_status
    comparison = compare(setting)
    if as_json:
        ratios = {name: getattr(comparison, name) for name in ("loss_ratio", "step_ratio", "memory_ratio", "peak_ratio", "met")}
        print(json.dumps({**asdict(comparison), **ratios, "setting": asdict(setting), "load": os.getloadavg()[0]}))
    else:
        _print(comparison, setting)
    return 0 if comparison.met else 1


def _print(comparison: Comparison, setting: Setting) -> None:
    table = Table(
        "head", "loss and gradients", "optimiser (AdamW)", "step", "memory, no optimiser", "memory",
        title=f"{setting.identities} identities × {setting.embedding_size}, batches of {setting.batch_size}, medians of {setting.steps}",
        title_justify="left",
    )  # fmt: skip
    for cost, share in ((comparison.full, 1.0), (comparison.sampled, setting.sample_rate)):
        times = (f"{seconds:.3f} s" for seconds in (cost.loss_seconds, cost.optimizer_seconds, cost.seconds))
        table.add_row(f"{cost.name} ({share:g})", *times, f"{cost.loss_mib:.0f} MiB", f"{cost.peak_mib:.0f} MiB")
    console = Console(highlight=False)
    console.print(table)
    console.print(
        f"sampled beside full: loss and gradients {comparison.loss_ratio:.1f} times as fast (promised: {LOSS_RATIO:g}) in "
        f"{comparison.memory_ratio:.1f} times as little memory (promised: {MEMORY_RATIO:g}): {'met' if comparison.met else 'not met'}"
    )
    console.print(
        f"with the optimiser, which passes over all centres: {comparison.step_ratio:.1f} times as fast, {comparison.peak_ratio:.1f} "
        f"times as little memory; load average {os.getloadavg()[0]:.1f}"
    )


if __name__ == "__main__":
    sys.exit(main())
