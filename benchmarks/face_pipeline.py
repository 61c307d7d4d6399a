"""Compare the speed of face embedding with facenet-pytorch's pipeline: `python -m zoo.benchmarks.face_pipeline`.

Both sides detect, crop and embed every face of the same photos, one photo at a time, with the same trained detector (facenet-pytorch's
MTCNN), the same crops (margin of 14 in 160 pixels) and the same network, an InceptionResnetV1. The network has random weights because the
trained ones are not part of the package; the time doesn't depend on them. facenet-pytorch is used as in its README: `MTCNN(keep_all=True)`,
the steps of its `forward`, and the network on the crops. The zoo is used through `zoo.predict`. Decoding is not timed. The two pipelines
run alternately for every photo.
"""

from __future__ import annotations

import os
import statistics
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from rich.table import Table

from zoo.benchmarks.harness.command import make_parser, prints_errors, report, torch_threads
from zoo.benchmarks.harness.photos import photo_files
from zoo.benchmarks.harness.timing import seconds_of
from zoo.benchmarks.peers.ours import with_weights
from zoo.compilation.compile import compile
from zoo.errors import check_positive
from zoo.images import decoding
from zoo.prediction.predict import predict
from zoo.tasks.face.detection.mtcnn import MTCNN

PROMISED = 2.0  # target: minimum ratio of photos per second
PIXEL = 1.0  # maximum difference of box edges in pixels
_SIZE, _MARGIN, _THRESHOLD = 160, 14, 0.7  # crop size and margin in pixels, and detection threshold, of facenet-pytorch

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Answer:
    """Faces that one of the pipelines detects in a photo."""

    boxes: NDArray[np.float64]  # [N, 4] xyxy in pixels, in descending order of score
    embeddings: NDArray[np.float64]  # [N, 512], unit length


@dataclass(frozen=True)
class PhotoCost:
    """Times of both pipelines for one photo, and the differences between their results."""

    name: str  # file name of the photo
    size_hw: tuple[int, int]  # height and width in pixels
    faces: int  # number of faces that facenet-pytorch detects
    theirs_ms: float  # median time of facenet-pytorch in milliseconds
    ours_ms: float  # median time of the zoo in milliseconds
    boxes: float  # largest difference of box edges in pixels; infinite if the numbers of faces differ
    embeddings: float  # largest distance between the two embeddings of a face; infinite if the numbers of faces differ


@dataclass(frozen=True)
class Comparison:
    """Comparison of both pipelines over all photos."""

    photos: tuple[PhotoCost, ...]

    @property
    def ratio(self) -> float:
        """Photos per second of the zoo divided by those of facenet-pytorch."""
        return sum(photo.theirs_ms for photo in self.photos) / sum(photo.ours_ms for photo in self.photos)

    @property
    def boxes(self) -> float:
        """Largest difference of box edges over all photos, in pixels."""
        return max(photo.boxes for photo in self.photos)

    @property
    def met(self) -> bool:
        """Whether speed and boxes meet their targets."""
        return self.ratio >= PROMISED and self.boxes <= PIXEL


class Theirs:
    """facenet-pytorch's pipeline."""

    def __init__(self) -> None:
        from facenet_pytorch import MTCNN as Detector
        from facenet_pytorch import InceptionResnetV1

        torch.manual_seed(0)
        self._detector: Any = Detector(image_size=_SIZE, margin=_MARGIN, keep_all=True)
        self.network: Any = InceptionResnetV1(pretrained=None).eval()

    def __call__(self, image: Pixels) -> Answer:
        """Return the faces of one photo. Its conversion to a Pillow image is included in the time."""
        photo = Image.fromarray(image)
        with torch.no_grad(), warnings.catch_warnings(action="ignore"):  # NumPy warns about facenet-pytorch's ragged arrays
            boxes, scores, _ = self._detector.detect(photo, landmarks=True)
            if boxes is None:
                return Answer(np.empty((0, 4)), np.empty((0, 512)))
            rows = self.network(self._detector.extract(photo, boxes, None)).numpy()
        order = np.argsort(-np.asarray(scores, np.float64), kind="stable")
        return Answer(np.asarray(boxes[order], np.float64), rows[order].astype(np.float64))


class Ours:
    """The zoo's pipeline with the weights of facenet-pytorch's network. `model` may be replaced with its compiled version."""

    def __init__(self, network: Any, engine: str = "eager") -> None:
        self.model = with_weights("inception_resnet_v1", "face", network)
        if engine != "eager":
            self.model = compile(self.model, engine, "fp32")
        self._detector = MTCNN(threshold=_THRESHOLD)

    def __call__(self, image: Pixels) -> Answer:
        """Return the faces of one photo."""
        (found,) = predict(self.model, image, detector=self._detector, device="cpu")
        faces: Any = found
        return Answer(faces.boxes.astype(np.float64), faces.embeddings.astype(np.float64))


def compare(photos: Sequence[tuple[str, Pixels]], rounds: int, engine: str = "eager") -> Comparison:
    """Time both pipelines alternately on every photo, given as name and RGB image, after one warm-up call each."""
    check_positive("face_pipeline", rounds=rounds)
    theirs = Theirs()
    ours = Ours(theirs.network, engine)
    return Comparison(tuple(_photo(name, image, theirs, ours, rounds) for name, image in photos))


def _photo(name: str, image: Pixels, theirs: Callable[[Pixels], Answer], ours: Callable[[Pixels], Answer], rounds: int) -> PhotoCost:
    a, b = theirs(image), ours(image)
    calls = (lambda: theirs(image), lambda: ours(image))
    times: tuple[list[float], list[float]] = ([], [])
    for turn in range(rounds):
        for side in (0, 1) if turn % 2 else (1, 0):
            times[side].append(1000 * seconds_of(calls[side]))
    same = len(a.boxes) == len(b.boxes)
    boxes = float(np.abs(a.boxes - b.boxes).max(initial=0)) if same else float("inf")
    rows = float(np.linalg.norm(a.embeddings - b.embeddings, axis=1).max(initial=0)) if same else float("inf")
    return PhotoCost(name, image.shape[:2], len(a.boxes), statistics.median(times[0]), statistics.median(times[1]), boxes, rows)


@prints_errors("face_pipeline")
def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark and return the exit status: 0 if speed and boxes meet their targets, 1 if not, 2 if the input is invalid."""
    parser = make_parser("face_pipeline", __doc__)
    parser.add_argument("--photos", type=Path, default=Path("../shared/data/portraits"), help="folder of photos")
    parser.add_argument("--rounds", type=int, default=5, help="number of timed runs of each pipeline per photo")
    parser.add_argument("--engine", default="eager", help="engine that runs the zoo's network in float32, as in zoo.compile")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="number of torch threads")
    flags = parser.parse_args(argv)
    check_positive("face_pipeline", threads=flags.threads)
    with torch_threads(flags.threads):
        comparison = compare([(path.name, decoding.read(path)) for path in photo_files(flags.photos)], flags.rounds, flags.engine)
    about = {"ratio": comparison.ratio, "boxes": comparison.boxes, "met": comparison.met}
    setting = {"threads": flags.threads, "rounds": flags.rounds, "engine": flags.engine}
    verdict = (
        f"{comparison.ratio:.2f} times the photos per second (target: {PROMISED:g}), boxes within {comparison.boxes:.4f} pixels "
        f"(target: {PIXEL:g}): {'met' if comparison.met else 'not met'}"
    )
    table = _table(comparison, flags.threads, flags.rounds)
    return report(flags.json, {**asdict(comparison), **about, **setting}, table, verdict, met=comparison.met)


def _table(comparison: Comparison, threads: int, rounds: int) -> Table:
    table = Table(
        "photo", "size", "faces", "facenet-pytorch", "zoo", "times as fast", "boxes differ by", "embeddings by",
        title=f"detect, align and embed on {threads} threads, medians of {rounds}", title_justify="left",
    )  # fmt: skip
    for photo in comparison.photos:
        height, width = photo.size_hw
        times = (f"{photo.theirs_ms:.0f} ms", f"{photo.ours_ms:.0f} ms", f"{photo.theirs_ms / photo.ours_ms:.2f}")
        table.add_row(photo.name, f"{width}×{height}", str(photo.faces), *times, f"{photo.boxes:.4f} px", f"{photo.embeddings:.1e}")
    return table


if __name__ == "__main__":
    sys.exit(main())
