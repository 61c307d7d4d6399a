"""Compare the speed of face embedding with facenet-pytorch's pipeline: `python -m zoo.benchmarks.face_pipeline`.

Both sides detect, crop and embed every face of the same photos, one photo at a time, with the same trained detector (facenet-pytorch's
MTCNN), the same crops (margin of 14 in 160 pixels) and the same network, an InceptionResnetV1. The network has random weights because the
trained ones are not part of the package; the time doesn't depend on them. facenet-pytorch is used as in its README: `MTCNN(keep_all=True)`,
the steps of its `forward`, and the network on the crops. The zoo is used through `zoo.predict`. Decoding is not timed. The two pipelines
run alternately for every photo.
"""

from __future__ import annotations

import statistics
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from zoo import Model, compile, predict
from zoo.benchmarks.harness.command import Flags, benchmark, flag, make_table, report, threads_flag, timed, torch_threads
from zoo.benchmarks.harness.inputs import photo_files
from zoo.benchmarks.peers.shared import with_weights
from zoo.errors import check_positive
from zoo.images import decoding
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


def ours(model: Model) -> Callable[[Pixels], Answer]:
    """Return the zoo's pipeline, a function that returns the faces of one photo."""
    detector = MTCNN(threshold=_THRESHOLD)

    def answer(image: Pixels) -> Answer:
        (found,) = predict(model, image, detector=detector, device="cpu")
        faces: Any = found
        return Answer(faces.boxes.astype(np.float64), faces.embeddings.astype(np.float64))

    return answer


def compare(photos: Sequence[tuple[str, Pixels]], rounds: int, engine: str = "eager") -> Comparison:
    """Time both pipelines alternately on every photo, given as name and RGB image, after one warm-up call each."""
    check_positive("face_pipeline", rounds=rounds)
    theirs = Theirs()
    model = with_weights("inception_resnet_v1", "face", theirs.network)
    mine = ours(model if engine == "eager" else compile(model, engine, "fp32"))
    return Comparison(tuple(_photo(name, image, theirs, mine, rounds) for name, image in photos))


def difference(a: Answer, b: Answer) -> tuple[float, float]:
    """Return the largest differences between box edges (pixels) and between embeddings; infinite if the numbers of faces differ."""
    if len(a.boxes) != len(b.boxes):
        return float("inf"), float("inf")
    rows = np.linalg.norm(a.embeddings - b.embeddings, axis=1)
    return float(np.abs(a.boxes - b.boxes).max(initial=0)), float(rows.max(initial=0))


def _photo(name: str, image: Pixels, theirs: Callable[[Pixels], Answer], ours: Callable[[Pixels], Answer], rounds: int) -> PhotoCost:
    pipelines = theirs, ours
    a, b = theirs(image), ours(image)
    times: tuple[list[float], list[float]] = ([], [])
    for turn in range(rounds):
        for side in (0, 1) if turn % 2 else (1, 0):
            times[side].append(1000 * timed(pipelines[side], image)[1])
    theirs_ms, ours_ms = map(statistics.median, times)
    return PhotoCost(name, image.shape[:2], len(a.boxes), theirs_ms, ours_ms, *difference(a, b))


@benchmark(
    flag("--photos", type=Path, default=Path("../shared/data/portraits"), help="folder of photos"),
    flag("--rounds", type=int, default=5, help="number of timed runs of each pipeline per photo"),
    flag("--engine", default="eager", help="engine that runs the zoo's network in float32, as in zoo.compile"),
    threads_flag(),
)
def main(flags: Flags) -> int:
    """Run the benchmark and return the exit status: 0 if speed and boxes meet their targets, 1 if not, 2 if the input is invalid."""
    check_positive("face_pipeline", threads=flags.threads)
    with torch_threads(flags.threads):
        found = compare([(path.name, decoding.read(path)) for path in photo_files(flags.photos)], flags.rounds, flags.engine)
    about = {"ratio": found.ratio, "boxes": found.boxes, "met": found.met}
    setting = {"threads": flags.threads, "rounds": flags.rounds, "engine": flags.engine}
    verdict = (
        f"{found.ratio:.2f} times the photos per second (target: {PROMISED:g}), boxes within {found.boxes:.4f} pixels "
        f"(target: {PIXEL:g}): {'met' if found.met else 'not met'}"
    )
    title = f"detect, align and embed on {flags.threads} threads, medians of {flags.rounds}"
    headings = ("photo", "size", "faces", "facenet-pytorch", "zoo", "times as fast", "boxes differ by", "embeddings by")
    table = make_table(title, headings, map(_row, found.photos))
    return report(flags.json, {**asdict(found), **about, **setting}, table, verdict, met=found.met)


def _row(photo: PhotoCost) -> tuple[str, ...]:
    height, width = photo.size_hw
    times = (f"{photo.theirs_ms:.0f} ms", f"{photo.ours_ms:.0f} ms", f"{photo.theirs_ms / photo.ours_ms:.2f}")
    return photo.name, f"{width}×{height}", str(photo.faces), *times, f"{photo.boxes:.4f} px", f"{photo.embeddings:.1e}"


if __name__ == "__main__":
    raise SystemExit(main())
