"""Compare accuracy after five minutes of training with a plain timm loop: `python -m zoo.benchmarks.from_scratch`.

A ResNet-20 is trained from random weights on the 6,000 training images of CIFAR-10 (JPEG) and evaluated on the test images, by the zoo and
by a plain loop. The zoo uses `--recipe standard`. The loop has the defaults of timm's `train.py`: images transformed by `create_transform`,
SGD with Nesterov momentum, a learning rate of 0.1 per 256 images, weight decay 2e-5, label smoothing 0.1, batches of 128, and a cosine
schedule after five epochs of warm-up. Both measure the time of an epoch and plan as many epochs as fit, so that their schedules are
completed. They run at the same time on one thread each, so that other work on the machine affects both.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from timm.data import create_transform
from timm.loss import LabelSmoothingCrossEntropy
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder

from zoo import Model, build, evaluate, train
from zoo.benchmarks.harness.command import Flags, benchmark, data_flag, flag, make_table, report
from zoo.errors import DataError
from zoo.system.hardware import place
from zoo.tasks.classification.options import RECIPES

_SIDES = ("zoo", "timm")
_RESERVE = 0.97  # fraction of the remaining time that is used, because the time of an epoch varies


def train_zoo(data: Path, minutes: float) -> dict[str, Any]:
    """Train with the zoo's standard recipe for as many epochs as fit into `minutes`, and return the result as JSON values."""
    start = time.perf_counter()
    folder = f"folder:{data / 'cifar10' / 'train'}"
    recipe = replace(RECIPES["standard"], workers=0)
    with tempfile.TemporaryDirectory() as scratch:
        trial = train(_fresh(), folder, recipe=replace(recipe, epochs=2), out=Path(scratch) / "trial", device="cpu")
        epochs = _epochs(minutes * 60 - (time.perf_counter() - start), trial.seconds / 2)
        run = train(_fresh(), folder, recipe=replace(recipe, epochs=epochs), out=Path(scratch) / "run", device="cpu")
    return _result(run.model, data, epochs, time.perf_counter() - start)


def train_timm(data: Path, minutes: float) -> dict[str, Any]:
    """Train with the defaults of timm's `train.py` for as many epochs as fit into `minutes`; return the result as JSON values."""
    start = time.perf_counter()
    model = _fresh()
    preprocess = model.preprocess
    transform = create_transform(preprocess.size_hw, is_training=True, mean=preprocess.mean, std=preprocess.std)
    dataset = ImageFolder(str(data / "cifar10" / "train"), transform, loader=lambda path: Image.open(path).convert("RGB"))
    loader = DataLoader(dataset, batch_size=128, shuffle=True, drop_last=True)
    _timm_epochs(_fresh(), loader, 1)
    epochs = _epochs(minutes * 60 - (time.perf_counter() - start), time.perf_counter() - start)
    _timm_epochs(model, loader, epochs)
    return _result(model.eval(), data, epochs, time.perf_counter() - start)


def _timm_epochs(model: Model, loader: DataLoader[Any], epochs: int) -> None:
    model.train()
    optimizer = create_optimizer_v2(model, "sgd", lr=0.1 * 128 / 256, weight_decay=2e-5, momentum=0.9)
    warmup = min(5, epochs - 1)
    scheduler, _ = create_scheduler_v2(
        optimizer, "cosine", num_epochs=epochs, warmup_epochs=warmup, warmup_lr=1e-5, min_lr=0.0, updates_per_epoch=len(loader)
    )
    criterion = LabelSmoothingCrossEntropy(0.1)
    for epoch in range(epochs):
        if scheduler is not None:
            scheduler.step(epoch)
        for images, targets in loader:
            loss = criterion(model.head(model.backbone(images), None), targets)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()


def _fresh() -> Model:
    torch.manual_seed(0)
    model = build("resnet20", num_classes=10)
    place(model, torch.device("cpu"))
    return model


def _epochs(left: float, one: float) -> int:
    return max(2, int(left * _RESERVE / one))


def _result(model: Model, data: Path, epochs: int, seconds: float) -> dict[str, Any]:
    scores = evaluate(model, f"folder:{data / 'cifar10' / 'test'}", workers=0, device="cpu")
    return {"top1": scores["top1"], "interval": list(scores.intervals["top1"]), "epochs": epochs, "seconds": seconds}


def both(data: Path, minutes: float) -> dict[str, dict[str, Any]]:
    """Train with both libraries at the same time in separate processes, which print their own errors; return the results by name."""
    if not (data / "cifar10" / "train").is_dir():
        raise DataError(f"{data} contains no folder cifar10/train; pass the folder that contains it as --data")
    words = [sys.executable, "-m", "zoo.benchmarks.from_scratch", "--data", str(data), "--minutes", str(minutes), "--side"]
    processes = {name: subprocess.Popen([*words, name], stdout=subprocess.PIPE, text=True) for name in _SIDES}
    answers = {name: process.communicate()[0] for name, process in processes.items()}
    for name, process in processes.items():
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, [*words, name])
    return {name: json.loads(answer) for name, answer in answers.items()}


@benchmark(
    data_flag("cifar10/"),
    flag("--minutes", type=float, default=5.0, help="duration of each training run in minutes"),
    flag("--side", choices=_SIDES, help="run only this side and print its result as JSON"),
)
def main(flags: Flags) -> int:
    """Run the benchmark; return 0 if the zoo's top-1 accuracy is at least timm's, 1 if not, and 2 if the data doesn't exist."""
    if flags.side:
        torch.set_num_threads(1)
        print(json.dumps((train_zoo if flags.side == "zoo" else train_timm)(flags.data, flags.minutes)))
        return 0
    results = both(flags.data, flags.minutes)
    rows = [
        (name, f"{found['top1']:.4f}", "–".join(f"{end:.4f}" for end in found["interval"]), str(found["epochs"]), f"{found['seconds']:.0f}")
        for name, found in results.items()
    ]
    title = f"ResNet-20 from random weights, 6,000 images of CIFAR-10, {flags.minutes:g} minutes on one thread"
    table = make_table(title, ("", "top1", "95 %", "epochs", "seconds"), rows)
    return report(flags.json, results, table, met=results["zoo"]["top1"] >= results["timm"]["top1"])


if __name__ == "__main__":
    raise SystemExit(main())
