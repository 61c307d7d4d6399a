"""Measure the speed-up of the feature cache when training a head on a frozen backbone: `python -m zoo.benchmarks.frozen_trunk`.

A ResNet-56 trained on CIFAR-10 gets a new head, which is trained on CIFAR-10's ten classes or on two classes, animals and vehicles. Three
runs differ only in the setting and state of the feature cache: the first starts with an empty cache and computes the features, the second
reads them from the cache, and the third doesn't use the cache. Crops and flips are off, so that all three compute the same result. The time
is that of the whole `zoo.train` call. The evaluation on the test images with `zoo.evaluate` is not timed.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch

from zoo import build, evaluate, train
from zoo.benchmarks.harness.command import Flags, benchmark, count_flag, data_flag, flag, report
from zoo.data.dataset import Dataset
from zoo.data.formats import open_data
from zoo.tasks.classification.datasets import SCHEMES
from zoo.tasks.classification.options import ClassificationRecipe

PROMISED = 20.0  # target: minimum speed-up by the cache of a run that has to compute the features
AGREEMENT = 1e-3  # maximum difference between the scores with and without the cache
_ANIMALS = ("bird", "cat", "deer", "dog", "frog", "horse")
_RECIPE = ClassificationRecipe(freeze="trunk", crop_scale=1.0, flip=0.0)


@dataclass(frozen=True)
class Side:
    """Result of one training run."""

    name: str  # state of the feature cache in the run
    seconds: float  # duration of `zoo.train` in seconds
    top1: float  # top-1 accuracy on the test images


def pictures(folder: Path, samples: int | None, classes: int) -> Dataset:
    """Open a CIFAR-10 split with 10 or 2 classes (animals, vehicles), with all images or `samples` drawn evenly from the classes."""
    data = open_data(f"folder:{folder}", SCHEMES, "classification")
    count = min(samples or len(data), len(data))
    chosen = replace(data, records=tuple(data.records[place] for place in np.linspace(0, len(data) - 1, count).astype(int)))
    if classes == len(data.classes):
        return chosen
    return chosen.with_targets(lambda label: int(data.classes[label] not in _ANIMALS), ("animal", "vehicle"))


def run(folder: Path, classes: int, epochs: int, samples: int | None, quiet: bool) -> list[Side]:
    """Train a head with an empty cache, a filled cache and no cache, on at most `samples` images; print each result unless `quiet`."""
    data, test = (pictures(folder / "cifar10" / part, samples, classes) for part in ("train", "test"))
    recipe = replace(_RECIPE, epochs=epochs)
    sides = []
    with tempfile.TemporaryDirectory() as scratch, patch.dict(os.environ, ZOO_CACHE=scratch):
        for name, feature_cache in (("features computed once", True), ("features found", True), ("no cache", False)):
            torch.manual_seed(0)
            model = build("resnet56", classes=data.classes, weights=folder / "weights" / "resnet56-4bfd9763.th", say=lambda text: None)
            done = train(model, data, None, replace(recipe, feature_cache=feature_cache), Path(scratch) / "runs" / name)
            top1 = evaluate(done.model, test, replicates=0)["top1"]
            assert top1 is not None, "the dataset has images"
            sides.append(Side(name, done.seconds, top1))
            if not quiet:
                print(f"{name}: {done.seconds:.1f} s, top-1 {top1:.4f}", flush=True)
    return sides


@benchmark(
    data_flag("cifar10/ and weights/"),
    flag("--classes", type=int, default=2, choices=(2, 10), help="number of classes: 10 for those of CIFAR-10, 2 for animals and vehicles"),
    count_flag("--epochs", 30, 1, 1000, "number of epochs of each run"),
    count_flag("--samples", None, 10, 6000, "maximum number of training images and of test images, 10 to 6,000; all by default"),
)
def main(flags: Flags) -> int:
    """Run the benchmark and return the exit status: 0 if all targets are met, 1 if not, 2 if the data doesn't exist."""
    sides = run(flags.data, flags.classes, flags.epochs, flags.samples, quiet=flags.json)
    first, found, slow = sides
    ratio, apart = slow.seconds / first.seconds, abs(slow.top1 - first.top1)
    kept = ratio >= PROMISED and apart <= AGREEMENT
    content = {"sides": [asdict(side) for side in sides], "ratio": ratio, "apart": apart, "met": kept}
    shown = (
        f"{ratio:.1f} times as fast (target: {PROMISED:g}), {slow.seconds / found.seconds:.1f} times with the features in the cache;",
        f"scores differ by {apart:.4f} (target: at most {AGREEMENT:g}): {'met' if kept else 'not met'}",
    )
    return report(flags.json, content, *shown, met=kept)


if __name__ == "__main__":
    raise SystemExit(main())
