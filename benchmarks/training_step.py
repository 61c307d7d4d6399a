"""Compare the time of a training step with torchvision's reference loop: `python -m zoo.benchmarks.training_step`.

The zoo and torchvision train the same network from the same weights on the same batch of generated images with SGD. They run alternately,
and the medians of single steps are compared. The ratio of the fastest steps, which other processes disturb less, is shown as well. The zoo
runs `zoo.train`, loader and bookkeeping included, in channels-last format and the precision selected for the processor (bf16 if supported).
torchvision runs the inner loop of its reference scripts (`train_one_epoch`) in float32 and channels-first format, with the batch in memory.
The losses are printed. They differ only by rounding and by the random sampling of proposals in a detector's loss.

Between the measurements, matrix multiplications are timed in both precisions. Their speed-up in bf16 approximates the possible gain of a
network dominated by convolutions. On a shared machine it changes by the minute.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.table import Table
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torchvision.models import resnet18, resnet50
from torchvision.models.detection import fasterrcnn_resnet50_fpn
from torchvision.transforms.v2.functional import normalize

from zoo import Model, build, train
from zoo.benchmarks.harness.command import Flags, benchmark, count_flag, flag, make_table, report
from zoo.benchmarks.harness.measurement import bf16_gain
from zoo.data.dataset import Sample
from zoo.errors import InputError
from zoo.images.preprocess import as_float
from zoo.system.hardware import pick_training_precision
from zoo.system.precision import Precision
from zoo.system.progress import Progress
from zoo.task.recipe import Recipe
from zoo.tasks.classification.options import ClassificationRecipe
from zoo.tasks.detection.training.recipe import DetectionRecipe

CLASSES = 10  # number of classes of all networks
_SGD: dict[str, Any] = {"optimizer": "momentum", "lr": 0.002, "weight_decay": 0.0, "scheduler": "constant", "warmup": 0.0, "workers": 0}

Steps = tuple[list[float], list[float]]  # seconds of each step, and loss of each step


@dataclass(frozen=True)
class Work:
    """Network, data and settings for one row of the table."""

    name: str  # description of the network and its batch
    backbone: str  # backbone of the zoo's model
    task: str  # task of the zoo's model
    theirs: Callable[[], nn.Module]  # function that builds torchvision's network with random weights
    samples: list[Sample]  # the batch
    options: dict[str, Any]  # options with which the zoo's model has the same network
    recipe: Recipe  # recipe for the zoo: SGD without augmentation
    bound: float  # target: minimum ratio on a processor that supports bf16


def labelled(count: int, height: int, width: int) -> list[Sample]:
    """Generate samples for classification, images of random blocks of 16×16 pixels."""
    generator = np.random.default_rng(0)
    small = generator.integers(0, 256, (count, height // 16, width // 16, 3), dtype=np.uint8)
    block = np.ones((16, 16, 1), np.uint8)
    return [Sample(np.kron(picture, block), index % CLASSES, f"{index}") for index, picture in enumerate(small)]


def boxed(count: int, height: int, width: int) -> list[Sample]:
    """Generate samples for detection, each with twelve boxes of various sizes."""
    generator = np.random.default_rng(1)
    samples = []
    for sample in labelled(count, height, width):
        corner = generator.uniform(0, (width * 0.7, height * 0.7), (12, 2))
        size = generator.uniform(20, min(height, width) * 0.3, (12, 2))
        boxes = np.concatenate([corner, corner + size], 1).astype(np.float32)
        samples.append(replace(sample, target={"boxes": boxes, "labels": generator.integers(0, CLASSES, 12)}))
    return samples


def works(batch: int, side: int, boxes_batch: int, height: int, width: int) -> list[Work]:
    """Return the rows of the table: classifiers on square images of `side` pixels, and a detector on images of `height` × `width`."""
    plain = ClassificationRecipe(batch_size=batch, crop_scale=1.0, flip=0.0, **_SGD)
    detector = DetectionRecipe(batch_size=boxes_batch, flip=0.0, light=0.0, clip_grad=0.0, **_SGD)
    full = {"image_size": height, "max_image_size": width, "fpn_channels": 256, "representation_size": 1024}
    full |= {"pre_nms_proposals": 1000, "proposals": 1000, "roi_batch": 512}

    def classifier(name: str, network: Callable[..., nn.Module]) -> Work:
        title, theirs, samples = f"{name} {side}×{side}, batch {batch}", partial(network, num_classes=CLASSES), labelled(batch, side, side)
        options = {"image_size": samples[0].image.shape[0]}
        return Work(title, network.__name__, "classification", theirs, samples, options, plain, 3.0)

    title = f"Faster R-CNN ResNet-50 FPN {height}×{width}, batch {boxes_batch}"
    sizes = {"num_classes": CLASSES + 1, "min_size": height, "max_size": width}
    faster_rcnn = partial(fasterrcnn_resnet50_fpn, weights=None, weights_backbone=None, **sizes)
    boxes = Work(title, "resnet50", "detection", faster_rcnn, boxed(boxes_batch, height, width), full, detector, 2.2)
    return [classifier("ResNet-50", resnet50), classifier("ResNet-18", resnet18), boxes]


@dataclass(frozen=True)
class Line:
    """Measured times and losses for one row of the table."""

    name: str  # description of the network and its batch
    ours_s: float  # median seconds of the zoo's steps
    theirs_s: float  # median seconds of torchvision's steps
    ours_quickest_s: float  # seconds of the zoo's fastest step
    theirs_quickest_s: float  # seconds of torchvision's fastest step
    bound: float  # target: minimum ratio
    ours_losses: list[float]  # the zoo's loss at each step of the first round
    theirs_losses: list[float]  # torchvision's loss at each step of the first round
    products: float | None  # median speed-up of matrix multiplications in bf16 over float32; None if bf16 isn't supported

    @property
    def ratio(self) -> float:
        """Median step time of torchvision divided by that of the zoo."""
        return self.theirs_s / self.ours_s


class Clock(Progress):
    """Progress display that measures the duration of every step of a run with one step per epoch, without writing checkpoints."""

    def __init__(self) -> None:
        super().__init__(enabled=False)
        self.seconds: list[float] = []
        self._start = time.perf_counter()

    def begin(self, label: str, total: int, done: int = 0) -> None:
        """Start the measurement of a training step."""
        self._start = time.perf_counter()

    def advance(self, note: str = "", steps: float = 1) -> None:
        """End the measurement of a training step."""
        self.seconds.append(time.perf_counter() - self._start)


def zoo_model(work: Work, weights: Path) -> Model:
    """Build the zoo's model with torchvision's weights."""
    return build(work.backbone, work.task, num_classes=CLASSES, weights=weights, say=lambda text: None, **work.options)


def zoo_steps(work: Work, weights: Path, steps: int, precision: Precision) -> Steps:
    """Train the zoo's model for `steps` epochs of one step each; return the seconds and losses of all steps."""
    recipe, clock = replace(work.recipe, epochs=steps, precision=precision), Clock()
    with tempfile.TemporaryDirectory() as scratch:
        run = train(zoo_model(work, weights), work.samples, recipe=recipe, out=Path(scratch) / "run", device="cpu", progress=clock)
    return clock.seconds, [entry["loss"] for entry in run.history]


def torchvision_steps(work: Work, weights: Path, steps: int) -> Steps:
    """Train torchvision's network with the inner loop of its reference scripts; return the seconds and losses of all steps."""
    network = work.theirs()
    network.load_state_dict(torch.load(weights, weights_only=True))
    network.train()
    optimizer = torch.optim.SGD(network.parameters(), lr=work.recipe.lr, momentum=0.9)
    # preprocess as the zoo does, so that both networks receive the same images
    preprocess = zoo_model(work, weights).preprocess
    images = [as_float(preprocess(sample.image)) for sample in work.samples]
    if work.task == "detection":
        targets = [sample.target for sample in work.samples]
        arrays = [(torch.from_numpy(target["boxes"]), torch.from_numpy(target["labels"]) + 1) for target in targets]
        # the dicts are created again for every step because the network's transform modifies them

        def loss_of() -> Tensor:
            losses = network(images, [{"boxes": boxes, "labels": labels} for boxes, labels in arrays])
            return torch.stack(list(losses.values())).sum()

    else:
        batch = normalize(torch.stack(images), list(preprocess.mean), list(preprocess.std))
        classes = torch.tensor([sample.target for sample in work.samples])

        def loss_of() -> Tensor:
            return cross_entropy(network(batch), classes)

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


def measure(work: Work, rounds: int, steps: int, precision: Precision) -> Line:
    """Time both libraries alternately for `rounds` rounds. The first step of each round is not counted."""
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as scratch:
        weights = Path(scratch) / "weights.pth"
        torch.save(work.theirs().state_dict(), weights)
        turns, gains = [], []
        for _ in range(rounds):
            first = zoo_steps(work, weights, steps, precision)
            gains.append(bf16_gain())
            turns.append((first, torchvision_steps(work, weights, steps)))
    ours, theirs = ([second for turn in turns for second in turn[side][0][1:]] for side in (0, 1))
    times = statistics.median(ours), statistics.median(theirs), min(ours), min(theirs)
    measured = [gain for gain in gains if gain is not None]
    products = statistics.median(measured) if measured else None
    return Line(work.name, *times, work.bound, turns[0][0][1], turns[0][1][1], products)


@benchmark(
    count_flag("--rounds", 5, 1, 100, "number of rounds, 1 to 100"),
    count_flag("--steps", 5, 2, 1000, "number of steps of each library per round, 2 to 1000"),
    flag("--batch", type=int, default=16, help="number of images per batch of a classifier"),
    flag("--side", type=int, default=224, help="height and width of a classifier's images in pixels"),
    flag("--boxes-batch", type=int, default=2, help="number of images per batch of the detector, 480 pixels high and 640 wide"),
    flag("--only", default="", help="run only the rows whose names contain this text, such as 'Faster'; all rows by default"),
    flag("--precision", default="auto", choices=("auto", "fp32", "bf16"), help="precision of the zoo's training"),
)
def main(flags: Flags) -> int:
    """Run the benchmark and return the exit status: 0 if all targets are met or don't apply (in fp32), 1 if not, 2 if a flag is invalid."""
    chosen = [work for work in works(flags.batch, flags.side, flags.boxes_batch, 480, 640) if flags.only in work.name]
    if not chosen:
        raise InputError(f"--only is {flags.only!r}; expected a part of a row's name")
    lines = [measure(work, flags.rounds, flags.steps, flags.precision) for work in chosen]
    precision = pick_training_precision(flags.precision, torch.device("cpu"))
    found = [{**asdict(line), "ratio": line.ratio} for line in lines]
    content = {"lines": found, "precision": precision, "threads": torch.get_num_threads()}
    met = precision == "fp32" or all(line.ratio >= line.bound for line in lines)
    return report(flags.json, content, *_shown(lines, precision), met=met)


def _shown(lines: Sequence[Line], precision: str) -> Iterator[Table | str]:
    title = f"seconds of a training step, the zoo in {precision}"
    yield make_table(title, ("", "zoo", "torchvision", "ratio", "fastest steps", "target"), map(_row, lines))
    for line in lines:
        yield f"losses of {line.name}"
        for side, losses in (("zoo        ", line.ours_losses), ("torchvision", line.theirs_losses)):
            yield f"  {side} {' '.join(f'{loss:.4f}' for loss in losses)}"
        if line.products is not None:
            yield f"between its measurements, matrix multiplications were {line.products:.2f} times as fast in bf16 as in float32"
    yield f"{torch.get_num_threads()} threads"


def _row(line: Line) -> tuple[str, ...]:
    fastest = f"{line.theirs_quickest_s:.3f} / {line.ours_quickest_s:.3f} = {line.theirs_quickest_s / line.ours_quickest_s:.2f}"
    return line.name, f"{line.ours_s:.3f}", f"{line.theirs_s:.3f}", f"{line.ratio:.2f}", fastest, f"at least {line.bound:.1f}"


if __name__ == "__main__":
    raise SystemExit(main())
