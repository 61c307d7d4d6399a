"""Compare a detector exported as one graph with its compiled form of two: `python -m zoo.benchmarks.single_graph`.

The compiled form (`zoo.compile`) has one graph for backbone and proposals and one for the boxes of the proposals; the steps between and
after them run in PyTorch and in the zoo's kernels. The exported form (`zoo.export`) has all of this in one graph.

Time: one image through both forms in turn. The ratio is the median of the ratios of neighbouring calls, because the speed of a shared
machine changes. Memory: the peak of a process that loads one of the forms and predicts.

Answers: the images of coco-mini, scaled to several sizes, in batches of 1 to 4, beside those of eager float32. Of each pair of detections
with the same class, the largest difference of a coordinate and of the score. In fp32, they must be at most 0.05 pixels and 0.0001.

The weights are random, but those of the last layers are scaled so that scores and boxes vary as a trained detector's do.
"""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import cv2
import torch
from scipy.optimize import linear_sum_assignment

import zoo
from zoo import Model
from zoo.benchmarks.harness.command import Flags, benchmark, count_flag, data_flag, flag, in_new_process, log, make_table, report
from zoo.benchmarks.shared_trunk import Setting, check_work, peak, times
from zoo.compilation.compile import FORMATS
from zoo.engines import ENGINES
from zoo.errors import InputError
from zoo.images.decoding import Image

_RATIO, _BOX_PX, _SCORE = 1.15, 0.05, 1e-4  # maximum ratio of the times, and differences in fp32
_OTHER_CLASS = 1e6  # cost of a pair of detections with different classes
_LONGEST_BATCH = 4
_DEVIATIONS = {"cls_logits": 2.0, "bbox_pred": 0.5, "cls_score": 2.0}  # of the outputs of the last layers


def spread(detector: Model, image: Image) -> Model:
    """Give the last layers of a detector random weights with which its outputs for an image vary as a trained detector's do. Return it."""
    generator, hooks = torch.Generator().manual_seed(0), []
    for name, layer in detector.head.named_modules():
        kind = name.rsplit(".", 1)[-1]
        if kind in _DEVIATIONS:
            assert isinstance(layer, torch.nn.Conv2d | torch.nn.Linear)

            def scale(layer: Any, inputs: Any, output: torch.Tensor, deviation: float = _DEVIATIONS[kind]) -> torch.Tensor | None:
                if layer in scaled:  # the layers for proposals are applied to every level
                    return None
                scaled.add(layer)
                factor = deviation / float(output.std())
                layer.weight.mul_(factor)
                return output * factor

            assert layer.bias is not None
            torch.nn.init.zeros_(layer.bias)
            torch.nn.init.normal_(layer.weight, generator=generator)
            hooks.append(layer.register_forward_hook(scale))
    scaled = set[torch.nn.Module]()
    with torch.no_grad():
        detector.eval()([image])
    for hook in hooks:
        hook.remove()
    return detector


def batches_of(folder: Path, side: int, count: int = 20) -> Iterator[list[Any]]:
    """Yield a batch for each of `count` sizes, of about `side` pixels, with 1 to 4 images of a folder, which are scaled to that size.

    Raises:
        InputError: there are no images in the folder.
    """
    files = sorted(folder.rglob("*.jpg"))
    if not files:
        raise InputError(f"{folder} has no images (*.jpg); pass --data with the folder that contains coco-mini")
    left = cycle(files)
    for place in range(count):
        height, width = side * (14 + place) // 20, side * (14 + 7 * place % 20) // 20
        chosen = islice(left, 1 + place % _LONGEST_BATCH)
        yield [cv2.resize(zoo.read_image(file), (width, height), interpolation=cv2.INTER_AREA) for file in chosen]


@dataclass
class Difference:
    """Largest differences of detections from those of eager float32.

    Attributes:
        detections: number of detections in eager.
        unpaired: number of detections in only one of the answers, or with another class.
        box: largest difference of a coordinate, in pixels of the images as given.
        score: largest difference of a score.
    """

    detections: int = 0
    unpaired: int = 0
    box: float = 0.0
    score: float = 0.0

    @property
    def met(self) -> bool:
        """Whether the answers are equal up to rounding in float32, and there are any."""
        return self.detections > 0 and self.unpaired == 0 and self.box <= _BOX_PX and self.score <= _SCORE

    def add(self, wanted: dict[str, Any], found: dict[str, Any]) -> None:
        """Count the differences of the detections of one image, which are paired so that the sum of all differences is smallest."""
        boxes = (wanted["boxes"][:, None] - found["boxes"][None]).abs().amax(2)
        scores = (wanted["scores"][:, None] - found["scores"][None]).abs()
        other = wanted["labels"][:, None] != found["labels"][None]
        rows, columns = (torch.from_numpy(each) for each in linear_sum_assignment(boxes + scores + _OTHER_CLASS * other))
        pairs = (~other[rows, columns]).nonzero()[:, 0]
        rows, columns = rows[pairs], columns[pairs]
        self.detections += len(wanted["boxes"])
        self.unpaired += len(wanted["boxes"]) + len(found["boxes"]) - 2 * len(pairs)
        if len(pairs):
            self.box = max(self.box, float(boxes[rows, columns].max()))
            self.score = max(self.score, float(scores[rows, columns].max()))


def differences(wanted: Sequence[Sequence[dict[str, Any]]], model: Model, batches: Sequence[Sequence[Image]]) -> Difference:
    """Return the differences of the detections of a model from `wanted`, those of eager, for batches of images."""
    found = Difference()
    with torch.inference_mode():
        for answers, batch in zip(wanted, batches, strict=True):
            for one, other in zip(answers, model(batch), strict=True):
                found.add(one, other)
    return found


@dataclass(frozen=True)
class Row:
    """Figures of a detector as one graph beside its form of two graphs, in milliseconds and MiB."""

    engine: str
    precision: str
    one_ms: float
    two_ms: float
    ratio: float
    one_mib: float
    two_mib: float
    difference: Difference
    two_difference: Difference  # of the form of two graphs: the rounding of the engine alone

    @property
    def met(self) -> bool:
        """Whether the ratio of the times and, in fp32, the differences from eager are within the bounds."""
        return self.ratio <= _RATIO and (self.precision != "fp32" or self.difference.met)


def row_of(
    detector: Model, format: str, precision: Any, image: Image, rounds: int, answers: Sequence[Any], batches: Sequence[Any], data: object
) -> Row:
    """Measure both forms of a detector with the engine of a format. `data` are images for calibration."""
    engine = FORMATS[format]
    with tempfile.TemporaryDirectory() as scratch:
        two, one = Path(scratch) / "two", Path(scratch) / "one"
        given = data if precision == "int8" else None
        zoo.save(zoo.compile(detector, engine, precision, data=given, say=log), two)
        zoo.export(detector, one, format, precision=precision, data=given, say=log)
        memory = [in_new_process(peak, folder, image) for folder in (one, two)]
        whole, parts = zoo.load(one), zoo.load(two)
        time = times("", engine, whole, parts, image, rounds, _RATIO)
        found = [differences(answers, model, batches) for model in (whole, parts)]
    return Row(engine, precision, time.joint, time.separate, time.ratio, memory[0], memory[1], found[0], found[1])


@benchmark(
    flag("--backbone", default="resnet50", help="backbone of the detector"),
    count_flag("--side", 800, 64, 4000, "shorter side of the image in pixels; the longer side is 4/3 of it"),
    count_flag("--rounds", 15, 1, 1000, "number of calls of each form that are timed"),
    count_flag("--sizes", 20, 1, 20, "number of image sizes, with one batch each, whose answers are compared with those of eager"),
    flag("--format", nargs="+", default=["onnx", "openvino"], choices=("onnx", "openvino"), help="formats of the graph"),
    flag("--precision", nargs="+", default=["fp32"], choices=("fp32", "bf16", "fp16", "int8"), help="precisions that the format has"),
    data_flag("coco-mini"),
)
def main(flags: Flags) -> int:
    """Run the benchmark and return the exit status: 0 if all figures are within their bounds, 1 if not."""
    setting = Setting(flags.backbone, flags.side, flags.side * 4 // 3)
    image, folder = setting.image(), flags.data / "coco-mini"
    batches = list(batches_of(folder, flags.side, flags.sizes))
    detector = spread(setting.build({"objects": "detection"}), batches[0][0])
    proposals, boxes = check_work(detector, image)
    with torch.inference_mode():
        answers = [detector(batch) for batch in batches]
    rows = []
    for format in flags.format:
        for precision in flags.precision:
            if precision in ENGINES[FORMATS[format]].precisions:
                rows.append(row_of(detector, format, precision, image, flags.rounds, answers, batches, str(folder / "images")))
                log(f"{rows[-1].engine}, {precision}: {rows[-1].ratio:.3f}")
                gc.collect()
    pictures = sum(map(len, batches))
    title = f"{setting.backbone}, {setting.height}×{setting.width}, {proposals} proposals, {boxes} boxes, {torch.get_num_threads()} threads"
    headings = ("engine", "precision", "one graph, ms", "two, ms", f"ratio (≤ {_RATIO})", "one graph, MiB", "two, MiB")
    table = make_table(f"{title}; answers for {pictures} images", (*headings, "box, px", "score", "unpaired", "of two", ""))
    for row in rows:
        figures = (f"{row.one_ms:.0f}", f"{row.two_ms:.0f}", f"{row.ratio:.3f}", f"{row.one_mib:.0f}", f"{row.two_mib:.0f}")
        one, two = row.difference, row.two_difference
        apart = (f"{one.box:.2g}", f"{one.score:.1g}", f"{one.unpaired} of {one.detections}", f"{two.unpaired}")
        table.add_row(row.engine, row.precision, *figures, *apart, "met" if row.met else "missed")
    met = bool(rows) and all(row.met for row in rows)
    content = {"proposals": proposals, "boxes": boxes, "images": pictures, "rows": [{**asdict(row), "met": row.met} for row in rows]}
    return report(flags.json, {**content, "met": met}, table, met=met, width=180)


if __name__ == "__main__":
    raise SystemExit(main())
