"""Compare the time of a training step with torchvision's reference loop: `python -m zoo.benchmarks.training_step`.

Both sides train the same network from the same weights on the same batch of generated images with SGD. They alternate, and the medians of
single steps are compared; the ratio of the fastest steps, which other processes disturb less, is shown as well. The zoo's side is
`zoo.train`, loader and bookkeeping included, with the precision selected for this processor (bf16 if it has the instructions) and channels
last. The other side is the inner loop of torchvision's references (`train_one_epoch`): float32, channels first, with the batch in memory.
The losses of both sides are printed: they differ only by rounding and by the proposals that a detector's loss samples. Between the turns,
matrix multiplications are timed in both precisions. Their speed-up in bf16 approximates what a network dominated by convolutions can gain;
on a shared machine it changes by the minute.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torchvision.transforms.v2.functional import normalize

from zoo.benchmarks.harness.command import make_parser, prints_errors
from zoo.benchmarks.peers.roofline import bf16_gain
from zoo.benchmarks.training_work import CLASSES, Work, works
from zoo.data.dataset import Sample
from zoo.errors import InputError
from zoo.images.preprocess import Preprocess, as_float
from zoo.models.builder import build
from zoo.models.model import Model
from zoo.system.hardware import pick_training_precision
from zoo.system.precision import Precision
from zoo.system.progress import Progress
from zoo.training.train import train

Steps = tuple[list[float], list[float]]  # seconds and loss of each step


@dataclass(frozen=True)
class Line:
    """Times and losses for one network.

    Attributes:
        name: name of the network and its batch.
        ours_s: median seconds of the zoo's steps.
        theirs_s: median seconds of torchvision's steps.
        ours_quickest_s: seconds of the zoo's fastest step.
        theirs_quickest_s: seconds of torchvision's fastest step.
        bound: target ratio.
        ours_losses: the zoo's loss at each step of the first turn.
        theirs_losses: torchvision's loss at each step of the first turn.
        products: median speed-up of matrix multiplications in bf16 over float32, between the turns; None without bf16.
    """

    name: str
    ours_s: float
    theirs_s: float
    ours_quickest_s: float
    theirs_quickest_s: float
    bound: float
    ours_losses: list[float]
    theirs_losses: list[float]
    products: float | None

    @property
    def ratio(self) -> float:
        """Median step time of torchvision divided by that of the zoo."""
        return self.theirs_s / self.ours_s


class Clock(Progress):
    """Measures the duration of every step of a run with one step per epoch, without the checkpoint at the end of each epoch."""

    def __init__(self) -> None:
        """Disable the progress display."""
        super().__init__(enabled=False)
        self.seconds: list[float] = []
        self._start = time.perf_counter()

    def begin(self, label: str, total: int, done: int = 0) -> None:
        """Start the measurement of a step."""
        self._start = time.perf_counter()

    def advance(self, note: str = "", steps: float = 1) -> None:
        """End the measurement of a step."""
        self.seconds.append(time.perf_counter() - self._start)


def zoo_model(work: Work, weights: Path, samples: list[Sample]) -> Model:
    """Build the zoo's model with torchvision's weights, for images of this size."""
    options = {**work.options, **({"image_size": samples[0].image.shape[0]} if work.task == "classification" else {})}
    return build(work.backbone, work.task, num_classes=CLASSES, weights=weights, say=lambda text: None, **options)


def zoo_steps(work: Work, weights: Path, samples: list[Sample], steps: int, precision: Precision) -> Steps:
    """Train the zoo's model for `steps` epochs of one step."""
    model = zoo_model(work, weights, samples)
    recipe = replace(work.recipe, epochs=steps, precision=precision)
    with tempfile.TemporaryDirectory() as scratch:
        clock = Clock()
        run = train(model, samples, recipe=recipe, out=Path(scratch) / "run", device="cpu", progress=clock)
    return clock.seconds, [entry["loss"] for entry in run.history]


def torchvision_steps(work: Work, weights: Path, samples: list[Sample], steps: int) -> Steps:
    """Train torchvision's network with the inner loop of its references."""
    network = work.theirs()
    network.load_state_dict(torch.load(weights, weights_only=True))
    network.train()
    optimizer = torch.optim.SGD(network.parameters(), lr=work.recipe.lr, momentum=0.9)
    # preprocess with the zoo's model, so that both sides get the same images
    preprocess = zoo_model(work, weights, samples).preprocess
    images = [as_float(preprocess(sample.image)) for sample in samples]
    loss_of = _detection_loss(network, images, samples) if work.task == "detection" else _class_loss(network, images, samples, preprocess)
    seconds, losses = [], []
    for _ in range(steps):
        start = time.perf_counter()
        loss = loss_of()
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        losses.append(loss.item())
        seconds.append(time.perf_counter() - start)
    return seconds, losses


def _class_loss(network: nn.Module, images: list[Tensor], samples: list[Sample], preprocess: Preprocess) -> Callable[[], Tensor]:
    batch = normalize(torch.stack(images), list(preprocess.mean), list(preprocess.std))
    targets = torch.tensor([sample.target for sample in samples])
    return lambda: cross_entropy(network(batch), targets)


def _detection_loss(network: nn.Module, images: list[Tensor], samples: list[Sample]) -> Callable[[], Tensor]:
    targets = [{"boxes": torch.from_numpy(one.target["boxes"]), "labels": torch.from_numpy(one.target["labels"]) + 1} for one in samples]

    # the dicts are copied because the network's transform modifies them
    return lambda: torch.stack(list(network(images, [dict(target) for target in targets]).values())).sum()


def measure(work: Work, rounds: int, steps: int, precision: Precision) -> Line:
    """Time both sides alternately; the first step of each turn is not counted.

    Args:
        work: the network and data to train.
        rounds: number of turns of each side.
        steps: number of steps per turn.
        precision: precision of the zoo's side.
    """
    torch.manual_seed(0)
    samples = work.samples()
    with tempfile.TemporaryDirectory() as scratch:
        weights = Path(scratch) / "weights.pth"
        torch.save(work.theirs().state_dict(), weights)
        turns, gains = [], []
        for _ in range(rounds):
            first = zoo_steps(work, weights, samples, steps, precision)
            gains.append(bf16_gain())
            turns.append((first, torchvision_steps(work, weights, samples, steps)))
    measured = [gain for gain in gains if gain is not None]
    ours, theirs = ([second for turn in turns for second in turn[side][0][1:]] for side in (0, 1))
    times = statistics.median(ours), statistics.median(theirs), min(ours), min(theirs)
    products = statistics.median(measured) if measured else None
    return Line(work.name, *times, work.bound, turns[0][0][1], turns[0][1][1], products)


@prints_errors("training_step")
def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark from the command line.

    Returns:
        0 if every target is met or this processor has no bf16 instructions, which the targets require; 1 if a target isn't met; 2 if a
        flag is invalid.
    """
    parser = make_parser("training_step", __doc__)
    parser.add_argument("--rounds", type=int, default=5, choices=range(1, 101), metavar="N", help="turns of each side, 1 to 100")
    parser.add_argument("--steps", type=int, default=5, choices=range(2, 1001), metavar="N", help="steps per turn, 2 to 1000")
    parser.add_argument("--batch", type=int, default=16, help="images per batch of a classifier")
    parser.add_argument("--side", type=int, default=224, help="height and width of a classifier's images in pixels")
    parser.add_argument("--boxes-batch", type=int, default=2, help="images per batch of a detector, of 480×640 pixels")
    parser.add_argument("--only", default="", help="run only rows whose names contain this text, such as 'Faster'")
    parser.add_argument("--precision", default="auto", choices=("auto", "fp32", "bf16"), help="precision of the zoo's side")
    flags = parser.parse_args(argv)
    chosen = [work for work in works(flags.batch, flags.side, flags.boxes_batch, 480, 640) if flags.only in work.name]
    if not chosen:
        raise InputError(f"--only is {flags.only!r}, which no row's name contains")
    lines = [measure(work, flags.rounds, flags.steps, flags.precision) for work in chosen]
    precision = pick_training_precision(flags.precision, torch.device("cpu"))
    if flags.json:
        found = [{**asdict(line), "ratio": line.ratio} for line in lines]
        print(json.dumps({"lines": found, "precision": precision, "threads": torch.get_num_threads(), "load": os.getloadavg()[0]}))
    else:
        _print(lines, precision)
    return 0 if precision == "fp32" or all(line.ratio >= line.bound for line in lines) else 1


def _print(lines: Sequence[Line], precision: str) -> None:
    title = f"seconds of a training step, the zoo in {precision}"
    table = Table("", "zoo", "torchvision", "ratio", "fastest steps", "target", title=title, title_justify="left")
    for line in lines:
        quickest = f"{line.theirs_quickest_s:.3f} / {line.ours_quickest_s:.3f} = {line.theirs_quickest_s / line.ours_quickest_s:.2f}"
        ratio, bound = f"{line.ratio:.2f}", f"at least {line.bound:.1f}"
        table.add_row(line.name, f"{line.ours_s:.3f}", f"{line.theirs_s:.3f}", ratio, quickest, bound)
    console = Console(highlight=False)
    console.print(table)
    for line in lines:
        console.print(f"losses of {line.name}")
        for side, losses in (("zoo        ", line.ours_losses), ("torchvision", line.theirs_losses)):
            console.print(f"  {side} {' '.join(f'{loss:.4f}' for loss in losses)}")
        if line.products is not None:
            console.print(f"between its turns, matrix multiplications were {line.products:.2f} times as fast in bf16 as in float32")
    console.print(f"{torch.get_num_threads()} threads; other processes slow down both sides; load average {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    sys.exit(main())
