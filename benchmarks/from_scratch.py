"""What is learned in five minutes, beside a plain timm loop: `python -m zoo.benchmarks.from_scratch`.

A ResNet-20 begins with random weights on the 6,000 training pictures of CIFAR-10 (JPEG), and is scored on the test pictures. One side
is the zoo with `--recipe standard`, the other a loop as timm's `train.py` has it by default: its loader's pictures through
`create_transform`, SGD with Nesterov momentum, a rate of 0.1 for 256 pictures, weight decay 2e-5, label smoothing 0.1, batches of 128,
a cosine after five epochs of warm-up. Each side finds out how long an epoch takes, and plans as many as fit into its time: its
schedule comes to its end. Both run at once, each on one thread, so that whatever else the machine does is shared.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from timm.data import create_transform
from timm.loss import LabelSmoothingCrossEntropy
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder

from zoo.errors import DataError
from zoo.evaluation.evaluate import evaluate
from zoo.models.builder import build
from zoo.models.model import Model
from zoo.system.hardware import place
from zoo.tasks.classification.recipe import RECIPES
from zoo.training.train import train

_SIDES = ("zoo", "timm")
_RESERVE = 0.97  # of the time is planned for; an epoch does not always take the same


def train_zoo(data: Path, minutes: float) -> dict[str, Any]:
    """Train with the standard recipe, in as many epochs as fit."""
    start = time.perf_counter()
    folder = f"folder:{data / 'cifar10' / 'train'}"
    recipe = replace(RECIPES["standard"], workers=0)
    with tempfile.TemporaryDirectory() as scratch:
        trial = train(_fresh(), folder, recipe=replace(recipe, epochs=2), out=Path(scratch) / "trial", device="cpu")
        epochs = _epochs(minutes * 60 - (time.perf_counter() - start), trial.seconds / 2)
        run = train(_fresh(), folder, recipe=replace(recipe, epochs=epochs), out=Path(scratch) / "run", device="cpu")
    return _result(run.model, data, epochs, time.perf_counter() - start)


def train_timm(data: Path, minutes: float) -> dict[str, Any]:
    """Train as timm's `train.py` does by default, in as many epochs as fit."""
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


def side(name: str, data: Path, minutes: float) -> int:
    """Run one side on one thread, and print its result as JSON."""
    torch.set_num_threads(1)
    print(json.dumps((train_zoo if name == "zoo" else train_timm)(data, minutes)))
    return 0


def both(data: Path, minutes: float) -> dict[str, dict[str, Any]]:
    """Run both sides at once, each in a process of its own.

    Raises:
        DataError: the pictures aren't there.
        CalledProcessError: a side failed; it has said why.
    """
    if not (data / "cifar10" / "train").is_dir():
        raise DataError(f"{data} holds no cifar10/train. Say with --data where it is")
    words = [sys.executable, "-m", "zoo.benchmarks.from_scratch", "--data", str(data), "--minutes", str(minutes), "--side"]
    processes = {name: subprocess.Popen([*words, name], stdout=subprocess.PIPE, text=True) for name in _SIDES}
    answers = {name: process.communicate()[0] for name, process in processes.items()}
    for name, process in processes.items():
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, [*words, name])
    return {name: json.loads(answer) for name, answer in answers.items()}


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line.

    Returns:
        0 where the zoo's score is at least as high, 1 where it isn't, 2 where the data isn't there.
    """
    parser = argparse.ArgumentParser(prog="python -m zoo.benchmarks.from_scratch", description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="the folder with cifar10/")
    parser.add_argument("--minutes", type=float, default=5.0, help="of training, of each side")
    parser.add_argument("--json", action="store_true", help="print one JSON object on standard output, and nothing else there")
    parser.add_argument("--side", choices=_SIDES, help="run one side alone, and print its result as JSON")
    flags = parser.parse_args(argv)
    if flags.side:
        return side(flags.side, flags.data, flags.minutes)
    try:
        results = both(flags.data, flags.minutes)
    except DataError as error:
        print(f"from_scratch: {error}", file=sys.stderr)
        return error.exit_status
    if flags.json:
        print(json.dumps(results))
    else:
        _print(results, flags.minutes)
    return 0 if results["zoo"]["top1"] >= results["timm"]["top1"] else 1


def _print(results: dict[str, dict[str, Any]], minutes: float) -> None:
    title = f"ResNet-20 from random weights, 6,000 pictures of CIFAR-10, {minutes:g} minutes on one thread"
    table = Table("", "top1", "95 %", "epochs", "seconds", title=title, title_justify="left")
    for name, result in results.items():
        low, high = result["interval"]
        table.add_row(name, f"{result['top1']:.4f}", f"{low:.4f}–{high:.4f}", str(result["epochs"]), f"{result['seconds']:.0f}")
    Console(highlight=False).print(table)


if __name__ == "__main__":
    sys.exit(main())
