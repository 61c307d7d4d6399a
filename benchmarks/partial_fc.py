"""Compare a full and a sampled margin head on many identities: `python -m zoo.benchmarks.partial_fc`.

One batch of random embeddings, an ArcFace head and AdamW; the backbone is not included. Each head is measured in a new process, so that its
peak memory is measured alone. Loss and optimiser are timed separately: the gradient of a sampled head is dense (see
`zoo.tasks.face.embedding.losses`), so AdamW updates all identities and keeps averages for them, whichever are sampled. The targets apply to
the loss.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from rich.console import Console
from rich.table import Table

from zoo.benchmarks.harness.command import make_parser, prints_errors
from zoo.benchmarks.harness.process import in_new_process
from zoo.benchmarks.harness.timing import seconds_of
from zoo.errors import InputError, check_positive

LOSS_RATIO = 4.0  # target ratio of the times from embeddings to gradients
MEMORY_RATIO = 2.0  # target ratio of the memory for centres, logits and gradients


@dataclass(frozen=True)
class Setting:
    """Sizes of the benchmark.

    Attributes:
        identities: number of people in the training data.
        embedding_size: numbers per embedding.
        batch_size: images per step.
        sample_rate: fraction of the identities that the sampled head compares with.
        steps: number of timed steps; one untimed step precedes them.
        threads: number of threads of torch.
    """

    identities: int
    embedding_size: int
    batch_size: int
    sample_rate: float
    steps: int
    threads: int

    def __post_init__(self) -> None:
        """Validate the sizes.

        Raises:
            InputError: a value is not above 0, or `sample_rate` is not below 1.
        """
        check_positive("partial_fc", **asdict(self))
        if self.sample_rate >= 1:
            raise InputError(f"partial_fc: sample_rate is {self.sample_rate}; expected a value below 1, the rate of the full head")


@dataclass(frozen=True)
class HeadCost:
    """Cost of a training step with one head.

    Attributes:
        name: name of the head.
        loss_seconds: median seconds from embeddings to gradients.
        optimizer_seconds: median seconds of the optimiser step.
        loss_mib: peak memory in MiB up to the first gradients, above the peak before the head was created.
        peak_mib: peak memory in MiB over all steps, optimiser averages included, above the peak before the head was created.
    """

    name: str
    loss_seconds: float
    optimizer_seconds: float
    loss_mib: float
    peak_mib: float

    @property
    def seconds(self) -> float:
        """Median seconds of a whole step."""
        return self.loss_seconds + self.optimizer_seconds


@dataclass(frozen=True)
class Comparison:
    """Cost of both heads.

    Attributes:
        full: head that compares with all identities (pytorch-metric-learning's ArcFace).
        sampled: head that compares with a sample of them.
    """

    full: HeadCost
    sampled: HeadCost

    @property
    def loss_ratio(self) -> float:
        """Time of the full head from embeddings to gradients, divided by that of the sampled head."""
        return self.full.loss_seconds / self.sampled.loss_seconds

    @property
    def step_ratio(self) -> float:
        """Time of a whole step with the full head, divided by that with the sampled head."""
        return self.full.seconds / self.sampled.seconds

    @property
    def memory_ratio(self) -> float:
        """Memory of the full head without the optimiser, divided by that of the sampled head."""
        return self.full.loss_mib / self.sampled.loss_mib

    @property
    def peak_ratio(self) -> float:
        """Memory of the full head with the optimiser, divided by that of the sampled head."""
        return self.full.peak_mib / self.sampled.peak_mib

    @property
    def met(self) -> bool:
        """Whether the sampled head meets the targets for time and memory."""
        return self.loss_ratio >= LOSS_RATIO and self.memory_ratio >= MEMORY_RATIO


def compare(setting: Setting) -> Comparison:
    """Measure the full head, then the sampled one, each in a new process."""
    full = in_new_process(measure, "full", 1.0, setting)
    return Comparison(full, in_new_process(measure, "sampled", setting.sample_rate, setting))


def measure(name: str, sample_rate: float, setting: Setting) -> HeadCost:
    """Measure the training steps of a head in this process."""
    import torch
    from torch.nn import functional as F

    from zoo.benchmarks.harness.machine import peak_memory_mib
    from zoo.tasks.face.embedding.losses import make_loss
    from zoo.tasks.face.embedding.options import FaceOptions

    torch.set_num_threads(setting.threads)
    torch.manual_seed(0)
    torch.optim.AdamW([torch.zeros(1, requires_grad=True)]).step()  # loads what AdamW needs before the memory is measured
    before = peak_memory_mib()
    head = make_loss(setting.identities, FaceOptions(embedding_size=setting.embedding_size, sample_rate=sample_rate))
    optimizer = torch.optim.AdamW(head.parameters(), lr=1e-3)
    embeddings = F.normalize(torch.randn(setting.batch_size, setting.embedding_size)).requires_grad_()
    identities = torch.randint(setting.identities, (setting.batch_size,))
    losses, passes, first = [], [], 0.0
    for step in range(setting.steps + 1):
        losses.append(seconds_of(lambda: torch.autograd.backward(head(embeddings, identities))))
        first = first or peak_memory_mib()
        passes.append(seconds_of(optimizer.step))
        optimizer.zero_grad(set_to_none=True)
        if not step:  # the first step allocates memory and creates the optimiser's averages
            losses, passes = [], []
    return HeadCost(name, statistics.median(losses), statistics.median(passes), first - before, peak_memory_mib() - before)


@prints_errors("partial_fc")
def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark from the command line.

    Returns:
        0 if time and memory meet their targets, 1 if they don't, 2 if a flag is invalid.
    """
    parser = make_parser("partial_fc", __doc__)
    parser.add_argument("--identities", type=int, default=1_000_000, help="number of people in the training data")
    parser.add_argument("--embedding-size", type=int, default=128, help="numbers per embedding")
    parser.add_argument("--batch-size", type=int, default=64, help="images per step")
    parser.add_argument("--sample-rate", type=float, default=0.1, help="fraction of the identities that the sampled head compares with")
    parser.add_argument("--steps", type=int, default=5, help="number of timed steps of each head")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="number of threads of torch")
    flags = vars(parser.parse_args(argv))
    as_json = flags.pop("json")
    setting = Setting(**flags)
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
        f"sampled vs. full: loss and gradients {comparison.loss_ratio:.1f} times as fast (target: {LOSS_RATIO:g}), memory "
        f"{comparison.memory_ratio:.1f} times lower (target: {MEMORY_RATIO:g}): {'met' if comparison.met else 'not met'}"
    )
    console.print(
        f"with the optimiser, which updates all centres: {comparison.step_ratio:.1f} times as fast, memory {comparison.peak_ratio:.1f} "
        f"times lower; load average {os.getloadavg()[0]:.1f}"
    )


if __name__ == "__main__":
    sys.exit(main())
