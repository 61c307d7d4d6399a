"""Fine-tuning the head of a frozen trunk with and without the feature cache: `python -m zoo.benchmarks.frozen_trunk`.

The resnet56 that was trained on CIFAR-10 gets a fresh head for a new task on pictures of CIFAR-10: its ten classes, or two, animals
and vehicles. Both sides are the same run but for `feature_cache`: crops and flips are off, so that they compute the same. The time is
that of `zoo.train` from beginning to end, the features included, which the first run finds nowhere; a second one finds them. Scores
are those of `zoo.evaluate` on the test pictures, which is not timed.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from zoo.data.dataset import Dataset
from zoo.data.formats import open_data
from zoo.errors import ZooError
from zoo.evaluation.evaluate import evaluate
from zoo.models.builder import build
from zoo.models.model import Model
from zoo.tasks.classification.datasets import SCHEMES
from zoo.tasks.classification.recipe import ClassificationRecipe
from zoo.training.train import train

PROMISED = 20.0  # times as fast, with the features computed anew
AGREEMENT = 1e-3  # of the scores
_ANIMALS = ("bird", "cat", "deer", "dog", "frog", "horse")
_RECIPE = ClassificationRecipe(freeze="trunk", crop_scale=1.0, flip=0.0)


@dataclass(frozen=True)
class Side:
    """What one way to train takes, and what it gives.

    Attributes:
        name: of the way.
        seconds: of `zoo.train`.
        top1: on the test pictures.
    """

    name: str
    seconds: float
    top1: float


def pictures(folder: Path, samples: int | None, classes: int) -> Dataset:
    """Return class folders of CIFAR-10 as data of 2 or 10 classes.

    Args:
        folder: one folder per class.
        samples: how many, spread evenly over the classes; None for all.
        classes: 10 for its own, 2 for animals and vehicles.

    Raises:
        InputError: there is no such data.
    """
    data = open_data(f"folder:{folder}", SCHEMES, "classification")
    count = min(samples or len(data), len(data))
    chosen = replace(data, records=tuple(data.records[place] for place in np.linspace(0, len(data) - 1, count).astype(int)))
    if classes == len(data.classes):
        return chosen
    return chosen.with_targets(lambda label: int(data.classes[label] not in _ANIMALS), ("animal", "vehicle"))


def run(folder: Path, classes: int, epochs: int, samples: int | None, say: bool = True) -> list[Side]:
    """Train with a cache that is empty, with one that is not, and without.

    Args:
        folder: with `cifar10/train`, `cifar10/test` and `weights`.
        classes: of the new task, 2 or 10.
        epochs: of each run.
        samples: pictures to train on, and at most as many to score on; None for all there are.
        say: print each side when it is through.

    Raises:
        InputError: the data or the weights aren't there.
    """
    data, test = (pictures(folder / "cifar10" / part, samples, classes) for part in ("train", "test"))
    recipe = replace(_RECIPE, epochs=epochs)
    before = os.environ.get("ZOO_CACHE")
    sides = []
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["ZOO_CACHE"] = scratch
        try:
            for name, feature_cache in (("features computed once", True), ("features found", True), ("no cache", False)):
                model, out = _fresh(folder / "weights" / "resnet56-4bfd9763.th", data), Path(scratch) / "runs" / name
                done = train(model, data, None, replace(recipe, feature_cache=feature_cache), out)
                top1 = evaluate(done.model, test, replicates=0)["top1"]
                assert top1 is not None, "there are pictures"
                sides.append(Side(name, done.seconds, top1))
                if say:
                    print(f"{name}: {done.seconds:.1f} s, top-1 {top1:.4f}", flush=True)
        finally:
            if before is None:
                del os.environ["ZOO_CACHE"]
            else:
                os.environ["ZOO_CACHE"] = before
    return sides


def _fresh(weights: Path, data: Dataset) -> Model:
    torch.manual_seed(0)
    return build("resnet56", classes=data.classes, weights=weights, say=lambda text: None)


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line.

    Returns:
        0 where the promises are kept, 1 where one isn't, 2 where the data isn't there.
    """
    parser = argparse.ArgumentParser(prog="python -m zoo.benchmarks.frozen_trunk", description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="the folder with cifar10/ and weights/")
    parser.add_argument("--classes", type=int, default=2, choices=(2, 10), help="of the new task")
    parser.add_argument("--epochs", type=int, default=30, choices=range(1, 1001), metavar="N", help="of each run")
    parser.add_argument("--samples", type=int, choices=range(10, 6001), metavar="N", help="pictures, 10 to 6,000; by default all 6,000")
    parser.add_argument("--json", action="store_true", help="print one JSON object on standard output, and nothing else there")
    flags = parser.parse_args(argv)
    try:
        sides = run(flags.data, flags.classes, flags.epochs, flags.samples, say=not flags.json)
    except ZooError as error:
        print(f"frozen_trunk: {error}", file=sys.stderr)
        return error.exit_status
    first, found, slow = sides
    ratio, apart = slow.seconds / first.seconds, abs(slow.top1 - first.top1)
    kept = ratio >= PROMISED and apart <= AGREEMENT
    if flags.json:
        content = {"sides": [asdict(side) for side in sides], "ratio": ratio, "apart": apart, "met": kept, "load": os.getloadavg()[0]}
        print(json.dumps(content))
    else:
        print(f"{ratio:.1f} times as fast (promised: {PROMISED:g}), {slow.seconds / found.seconds:.1f} times where the features are found;")
        print(f"scores {apart:.4f} apart (promised: {AGREEMENT:g} at most): {'met' if kept else 'not met'}")
        print(f"other processes take time from both sides; load average {os.getloadavg()[0]:.1f}")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
