"""Compare a full and a sampled margin head on many identities: `python -m zoo.benchmarks.partial_fc`.

A training step consists of an ArcFace head on a batch of random embeddings and an AdamW step; the backbone is not included. Each head is
measured in a new process, so that its peak memory is measured alone. Loss and optimiser are timed separately, because sampling doesn't
reduce the work of the optimiser: the gradient of a sampled head is dense (see `zoo.tasks.face.embedding.losses`), so that AdamW updates all
identities and stores averages for them. The targets apply only to the loss.
"""

from __future__ import annotations

import statistics
from dataclasses import asdict, dataclass

from zoo.benchmarks.harness.command import Flags, benchmark, flag, in_new_process, make_table, report, threads_flag, timed
from zoo.errors import InputError, check_positive

LOSS_RATIO = 4.0  # target: minimum ratio (full to sampled) of the times from embeddings to gradients
MEMORY_RATIO = 2.0  # target: minimum ratio (full to sampled) of the memory for centres, logits and gradients


@dataclass(frozen=True)
class Setting:
    """Settings of the benchmark: amounts of data and numbers of repetitions."""

    identities: int  # number of people in the training data
    embedding_size: int  # dimensions of the embeddings
    batch_size: int  # images per step
    sample_rate: float  # fraction of the identities that the sampled head uses per step
    steps: int  # number of timed steps; one untimed step precedes them
    threads: int  # number of torch threads

    def __post_init__(self) -> None:
        check_positive("partial_fc", **asdict(self))
        if self.sample_rate >= 1:
            raise InputError(f"partial_fc: sample_rate is {self.sample_rate}; expected a value below 1, which is the rate of the full head")


@dataclass(frozen=True)
class HeadCost:
    """Cost of a training step with one head."""

    name: str  # name of the head
    loss_seconds: float  # median seconds from embeddings to gradients
    optimizer_seconds: float  # median seconds of the optimiser step
    loss_mib: float  # increase of peak memory in MiB from the creation of the head to the first gradients
    peak_mib: float  # increase of peak memory in MiB from the creation of the head over all steps, optimiser averages included

    @property
    def seconds(self) -> float:
        """Median duration of a whole training step in seconds."""
        return self.loss_seconds + self.optimizer_seconds


@dataclass(frozen=True)
class Comparison:
    """Costs of the full head and of the sampled head."""

    full: HeadCost  # cost of the head that compares with all identities (pytorch-metric-learning's ArcFace)
    sampled: HeadCost  # cost of the head that compares with a sample of the identities

    @property
    def ratios(self) -> dict[str, float]:
        """Ratios of the full head's cost to the sampled head's: time and memory, without and with the optimiser."""
        return {
            "loss_ratio": self.full.loss_seconds / self.sampled.loss_seconds,
            "step_ratio": self.full.seconds / self.sampled.seconds,
            "memory_ratio": self.full.loss_mib / self.sampled.loss_mib,
            "peak_ratio": self.full.peak_mib / self.sampled.peak_mib,
        }

    @property
    def met(self) -> bool:
        """Whether the sampled head meets the targets for time and memory."""
        return self.ratios["loss_ratio"] >= LOSS_RATIO and self.ratios["memory_ratio"] >= MEMORY_RATIO


def compare(setting: Setting) -> Comparison:
    """Measure the full head, then the sampled one, each in a new process."""
    full = in_new_process(measure, "full", 1.0, setting)
    return Comparison(full, in_new_process(measure, "sampled", setting.sample_rate, setting))


def measure(name: str, sample_rate: float, setting: Setting) -> HeadCost:
    """Measure the cost of training steps with a head in the current process."""
    import torch
    from torch.nn import functional as F

    from zoo.benchmarks.harness.measurement import peak_memory_mib
    from zoo.tasks.face.embedding.losses import make_loss
    from zoo.tasks.face.embedding.options import FaceOptions

    torch.set_num_threads(setting.threads)
    torch.manual_seed(0)
    torch.optim.AdamW([torch.zeros(1, requires_grad=True)]).step()  # imports what AdamW needs before memory is measured
    before = peak_memory_mib()
    head = make_loss(setting.identities, FaceOptions(embedding_size=setting.embedding_size, sample_rate=sample_rate))
    optimizer = torch.optim.AdamW(head.parameters(), lr=1e-3)
    embeddings = F.normalize(torch.randn(setting.batch_size, setting.embedding_size)).requires_grad_()
    identities = torch.randint(setting.identities, (setting.batch_size,))
    losses, passes, first = [], [], 0.0
    for step in range(setting.steps + 1):
        losses.append(timed(lambda: torch.autograd.backward(head(embeddings, identities)))[1])
        first = first or peak_memory_mib()
        passes.append(timed(optimizer.step)[1])
        optimizer.zero_grad(set_to_none=True)
        if not step:  # the first step allocates memory and creates the optimiser's averages
            losses, passes = [], []
    return HeadCost(name, statistics.median(losses), statistics.median(passes), first - before, peak_memory_mib() - before)


@benchmark(
    flag("--identities", type=int, default=1_000_000, help="number of people in the training data"),
    flag("--embedding-size", type=int, default=128, help="dimensions of the embeddings"),
    flag("--batch-size", type=int, default=64, help="number of images per step"),
    flag("--sample-rate", type=float, default=0.1, help="fraction of the identities that the sampled head uses per step"),
    flag("--steps", type=int, default=5, help="number of timed steps of each head"),
    threads_flag(),
)
def main(flags: Flags) -> int:
    """Run the benchmark and return the exit status: 0 if time and memory meet their targets, 1 if not, 2 if a flag is invalid."""
    setting = Setting(**{name: value for name, value in vars(flags).items() if name != "json"})
    found = compare(setting)
    title = f"{setting.identities} identities × {setting.embedding_size}, batches of {setting.batch_size}, medians of {setting.steps}"
    headings = ("head", "loss and gradients", "optimiser (AdamW)", "step", "memory, no optimiser", "memory")
    table = make_table(title, headings, [_row(found.full, 1.0), _row(found.sampled, setting.sample_rate)])
    loss, step, memory, peak = found.ratios.values()
    shown = (
        f"sampled vs. full: loss and gradients {loss:.1f} times as fast (target: {LOSS_RATIO:g}), memory {memory:.1f} times lower (target: "
        f"{MEMORY_RATIO:g}): {'met' if found.met else 'not met'}",
        f"with the optimiser, which updates all centres: {step:.1f} times as fast, memory {peak:.1f} times lower",
    )
    content = {**asdict(found), **found.ratios, "met": found.met, "setting": asdict(setting)}
    return report(flags.json, content, table, *shown, met=found.met)


def _row(cost: HeadCost, share: float) -> tuple[str, ...]:
    times = (f"{seconds:.3f} s" for seconds in (cost.loss_seconds, cost.optimizer_seconds, cost.seconds))
    return f"{cost.name} ({share:g})", *times, f"{cost.loss_mib:.0f} MiB", f"{cost.peak_mib:.0f} MiB"


if __name__ == "__main__":
    raise SystemExit(main())
