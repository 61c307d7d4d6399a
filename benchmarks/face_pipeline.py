"""From photos to embeddings beside facenet-pytorch's own pipeline: `python -m zoo.benchmarks.face_pipeline`.

Both sides detect, cut out and embed every face of the same photos, one photo at a time, with the same trained detector (facenet-pytorch's
MTCNN), the same crops (its margin of 14 in 160 pixels) and the same network: an InceptionResnetV1 with random weights, since the trained
ones aren't in its package; they would take as long. Theirs is as its README has it: `MTCNN(keep_all=True)`, what its `forward` does, and
the network on the crops. Ours is `zoo.predict`. Decoding is left out. The two take turns, photo by photo.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.table import Table

from zoo.benchmarks.photos import photo_files
from zoo.compilation.compile import compile
from zoo.errors import ZooError, check_positive
from zoo.images import decoding as images
from zoo.models.builder import build
from zoo.models.model import Model
from zoo.prediction.predict import predict
from zoo.tasks.face.detection.mtcnn import MTCNN

PROMISED = 2.0  # times the photos per second
PIXEL = 1.0  # that boxes may differ by
_SIZE, _MARGIN, _THRESHOLD = 160, 14, 0.7  # facenet-pytorch's

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Answer:
    """What one side says of a photo.

    Attributes:
        boxes: [N, 4] xyxy in pixels, by descending score.
        embeddings: [N, 512], of unit length.
    """

    boxes: NDArray[np.float64]
    embeddings: NDArray[np.float64]


@dataclass(frozen=True)
class PhotoCost:
    """One photo.

    Attributes:
        name: its file.
        size_hw: height and width in pixels.
        faces: that both sides found.
        theirs_ms: median over the rounds.
        ours_ms: likewise.
        boxes: pixels, the largest difference of any edge; infinite where the numbers of faces differ.
        embeddings: the largest distance of two embeddings of one face.
    """

    name: str
    size_hw: tuple[int, int]
    faces: int
    theirs_ms: float
    ours_ms: float
    boxes: float
    embeddings: float


@dataclass(frozen=True)
class Comparison:
    """All photos.

    Attributes:
        photos: one after the other.
    """

    photos: tuple[PhotoCost, ...]

    @property
    def ratio(self) -> float:
        """How many times the photos per second."""
        return sum(photo.theirs_ms for photo in self.photos) / sum(photo.ours_ms for photo in self.photos)

    @property
    def boxes(self) -> float:
        """The largest difference of any edge of any box, in pixels."""
        return max(photo.boxes for photo in self.photos)

    @property
    def met(self) -> bool:
        """Whether speed and boxes are what is promised."""
        return self.ratio >= PROMISED and self.boxes <= PIXEL


class Theirs:
    """facenet-pytorch's pipeline."""

    def __init__(self) -> None:
        """Build detector and network."""
        from facenet_pytorch import MTCNN as Detector
        from facenet_pytorch import InceptionResnetV1

        torch.manual_seed(0)
        self._detector: Any = Detector(image_size=_SIZE, margin=_MARGIN, keep_all=True)
        self.network: Any = InceptionResnetV1(pretrained=None).eval()

    def __call__(self, image: Pixels) -> Answer:
        """Answer for one photo; it takes them as Pillow has them."""
        photo = Image.fromarray(image)
        boxes, scores, _ = self._detector.detect(photo, landmarks=True)
        if boxes is None:
            return Answer(np.empty((0, 4)), np.empty((0, 512)))
        with torch.no_grad():
            rows = self.network(self._detector.extract(photo, boxes, None)).numpy()
        order = np.argsort(-np.asarray(scores, np.float64), kind="stable")
        return Answer(np.asarray(boxes[order], np.float64), rows[order].astype(np.float64))


class Ours:
    """The zoo's.

    Attributes:
        model: embeds; it may be replaced by itself compiled.
    """

    def __init__(self, network: Any, engine: str = "eager") -> None:
        """Build the same network.

        Args:
            network: theirs.
            engine: that computes it, in float32; see `zoo.compile`.
        """
        with tempfile.TemporaryDirectory() as folder:
            torch.save(network.state_dict(), Path(folder) / "weights.pt")
            self.model: Model = build("inception_resnet_v1", "face", weights=Path(folder) / "weights.pt", say=lambda text: None)
        if engine != "eager":
            self.model = compile(self.model, engine, "fp32")
        self._detector = MTCNN(threshold=_THRESHOLD)

    def __call__(self, image: Pixels) -> Answer:
        """Answer for one photo."""
        (found,) = predict(self.model, image, detector=self._detector, device="cpu")
        faces: Any = found
        return Answer(faces.boxes.astype(np.float64), faces.embeddings.astype(np.float64))


def compare(photos: Sequence[tuple[str, Pixels]], rounds: int, engine: str = "eager") -> Comparison:
    """Let both sides answer for every photo, in turn, each after a warm-up.

    Args:
        photos: name and RGB picture of each.
        rounds: timed answers of each side per photo.
        engine: that computes our embeddings.
    """
    check_positive("face_pipeline", rounds=rounds)
    theirs = Theirs()
    ours = Ours(theirs.network, engine)
    return Comparison(tuple(_photo(name, image, theirs, ours, rounds) for name, image in photos))


def _photo(name: str, image: Pixels, theirs: Callable[[Pixels], Answer], ours: Callable[[Pixels], Answer], rounds: int) -> PhotoCost:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy's, of their ragged arrays
        a, b = theirs(image), ours(image)
        times: tuple[list[float], list[float]] = ([], [])
        for turn in range(rounds):
            for side in (0, 1) if turn % 2 else (1, 0):
                times[side].append(_milliseconds((theirs, ours)[side], image))
    same = len(a.boxes) == len(b.boxes)
    boxes = float(np.abs(a.boxes - b.boxes).max(initial=0)) if same else float("inf")
    rows = float(np.linalg.norm(a.embeddings - b.embeddings, axis=1).max(initial=0)) if same else float("inf")
    return PhotoCost(name, image.shape[:2], len(a.boxes), statistics.median(times[0]), statistics.median(times[1]), boxes, rows)


def _milliseconds(call: Callable[[Pixels], Answer], image: Pixels) -> float:
    start = time.perf_counter()
    call(image)
    return (time.perf_counter() - start) * 1000


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line.

    Returns:
        0 where speed and boxes are what is promised, 1 where they aren't, 2 where the input is wrong.
    """
    parser = argparse.ArgumentParser(prog="python -m zoo.benchmarks.face_pipeline", description=__doc__)
    parser.add_argument("--photos", type=Path, default=Path("../shared/data/portraits"), help="a folder")
    parser.add_argument("--rounds", type=int, default=5, help="timed answers of each side per photo")
    parser.add_argument("--engine", default="eager", help="that computes our embeddings, in float32; see zoo.compile")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="that torch computes with")
    parser.add_argument("--json", action="store_true", help="print one JSON object on standard output, and nothing else there")
    flags = parser.parse_args(argv)
    before = torch.get_num_threads()
    try:
        check_positive("face_pipeline", threads=flags.threads)
        torch.set_num_threads(flags.threads)
        comparison = compare([(path.name, images.read(path)) for path in photo_files(flags.photos)], flags.rounds, flags.engine)
    except ZooError as error:
        print(f"face_pipeline: {error}", file=sys.stderr)
        return error.exit_status
    finally:
        torch.set_num_threads(before)
    if flags.json:
        about = {"ratio": comparison.ratio, "boxes": comparison.boxes, "met": comparison.met}
        setting = {"threads": flags.threads, "rounds": flags.rounds, "engine": flags.engine}
        print(json.dumps({**asdict(comparison), **about, **setting, "load": os.getloadavg()[0]}))
    else:
        _print(comparison, flags.threads, flags.rounds)
    return 0 if comparison.met else 1


def _print(comparison: Comparison, threads: int, rounds: int) -> None:
    table = Table(
        "photo", "size", "faces", "facenet-pytorch", "zoo", "times as fast", "boxes differ by", "embeddings by",
        title=f"detect, align and embed on {threads} threads, medians of {rounds}", title_justify="left",
    )  # fmt: skip
    for photo in comparison.photos:
        height, width = photo.size_hw
        times = (f"{photo.theirs_ms:.0f} ms", f"{photo.ours_ms:.0f} ms", f"{photo.theirs_ms / photo.ours_ms:.2f}")
        table.add_row(photo.name, f"{width}×{height}", str(photo.faces), *times, f"{photo.boxes:.4f} px", f"{photo.embeddings:.1e}")
    console = Console(highlight=False)
    console.print(table)
    console.print(
        f"{comparison.ratio:.2f} times the photos per second (promised: {PROMISED:g}), boxes within {comparison.boxes:.4f} pixels "
        f"(promised: {PIXEL:g}): {'met' if comparison.met else 'not met'}; load average {os.getloadavg()[0]:.1f}"
    )


if __name__ == "__main__":
    sys.exit(main())
