"""Compare the speed of two COCO evaluators, faster-coco-eval and pycocotools: `python -m zoo.benchmarks.coco_speed`.

The input is generated with a fixed seed and has the size of COCO's validation set: 5,000 images with 7 objects and 100 detections each,
80 classes. Both evaluators receive the arrays collected by the detection metric. The time to compute the scores from them is measured.
"""

from __future__ import annotations

import argparse
import time
from typing import get_args

import numpy as np

from zoo.benchmarks.harness.command import timed
from zoo.tasks.detection.metric.evaluators import evaluate
from zoo.tasks.detection.metric.metric import CocoMetric
from zoo.tasks.detection.options import Evaluator

PROMISED = 10.0  # target: minimum ratio of the evaluation times


def collected(pictures: int, seed: int = 0) -> CocoMetric:
    """Return a metric with generated predictions and targets. As with a trained model, most detections lie near an object."""
    rng = np.random.default_rng(seed)
    metric = CocoMetric(tuple(f"class {index}" for index in range(80)))
    for number in range(pictures):
        corners = rng.uniform(0, 400, (7, 2))
        boxes = np.concatenate([corners, corners + rng.uniform(10, 200, (7, 2))], axis=1).astype(np.float32)
        labels = rng.integers(80, size=7)
        near = rng.integers(7, size=100)
        answer = {
            "boxes": (boxes[near] + rng.normal(0, 8, (100, 4))).astype(np.float32),
            "labels": np.where(rng.random(100) < 0.7, labels[near], rng.integers(80, size=100)),
            "scores": np.sort(rng.random(100).astype(np.float32))[::-1],
        }
        answer["boxes"][:, 2:] = np.maximum(answer["boxes"][:, 2:], answer["boxes"][:, :2] + 1)
        metric.update([answer], [{"boxes": boxes, "labels": labels}], [f"{number:06d}"])
    return metric


def main() -> int:
    """Compare two COCO evaluators and print their times. The exit status is 1 if their scores differ or the speed target isn't met."""
    parser = argparse.ArgumentParser(prog="python -m zoo.benchmarks.coco_speed", description=main.__doc__)
    parser.add_argument("--pictures", type=int, default=5_000, help="number of images")
    pictures = parser.parse_args().pictures
    columns = collected(pictures).columns()
    seconds, scores = {}, {}
    for evaluator in get_args(Evaluator):
        start = time.perf_counter()
        scores[evaluator] = evaluate(columns, evaluator, 100).scores()
        seconds[evaluator] = time.perf_counter() - start
        print(f"{evaluator}: {seconds[evaluator]:.1f} s, AP {scores[evaluator]['AP']:.6f}", flush=True)
    _, whole = timed(lambda: collected(pictures).compute())
    print(f"generating the data and computing the whole report: {whole:.1f} s")
    ratio = seconds["pycocotools"] / seconds["faster"]
    pairs = zip(scores["faster"].values(), scores["pycocotools"].values(), strict=True)
    equal = all(a == b or (a is not None and b is not None and abs(a - b) < 1e-10) for a, b in pairs)
    kept = ratio >= PROMISED
    print(f"{pictures} images: {ratio:.1f} times as fast (target: {PROMISED:g}): {'met' if kept else 'not met'}; ", end="")
    print("the twelve scores are equal" if equal else "THE SCORES DIFFER")
    return 0 if equal and kept else 1


if __name__ == "__main__":
    raise SystemExit(main())
