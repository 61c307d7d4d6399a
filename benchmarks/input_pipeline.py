"""Compare the zoo's image loading speed with torchvision's: `python -m zoo.benchmarks.input_pipeline`.

Both libraries read the same files on one core, resize them to 224 pixels as in ImageNet's evaluation, and produce the same normalised float
batches. They run alternately, and medians are compared. In the zoo, normalisation is part of the model, but it is included in the time
here.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from zoo.benchmarks.harness.command import Flags, benchmark, count_flag, data_flag, make_table, report
from zoo.benchmarks.harness.inputs import link_files, photo_files
from zoo.data.dataset import Dataset, Record
from zoo.data.folders import picture_files
from zoo.data.loader import evaluation_loader
from zoo.images.decoding import Decoding
from zoo.images.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocess, as_float

_PREPROCESS = Preprocess()
_DECODING = Decoding(_PREPROCESS.min_size_hw)
_BATCH = 16
_MEGAPIXELS = 12
_REMEDY = "pass the folder that contains photos/ and portraits/ as --data"


@dataclass(frozen=True)
class Comparison:
    """Comparison of the zoo's loader with another loader, or of two settings of the zoo's loader."""

    name: str  # description of the comparison
    ours: float  # median images per second of the zoo
    theirs: float  # median images per second of the other loader
    bound: float  # target: minimum ratio

    @property
    def ratio(self) -> float:
        """Images per second of the zoo divided by those of the other loader."""
        return self.ours / self.theirs

    @property
    def met(self) -> bool:
        """Whether the ratio reaches the target."""
        return self.ratio >= self.bound


def compare(name: str, ours: Callable[[], float], theirs: Callable[[], float], bound: float, rounds: int) -> Comparison:
    """Call two functions that return images per second alternately, and compare their medians without the first round."""
    rates = [(ours(), theirs()) for _ in range(rounds + 1)][1:]
    return Comparison(name, statistics.median(rate[0] for rate in rates), statistics.median(rate[1] for rate in rates), bound)


@contextlib.contextmanager
def one_core() -> Iterator[None]:
    """Restrict the current thread, and threads that it starts, to one core if the operating system supports it."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@one_core()
def zoo_rate(folder: Path) -> float:
    """Return the images per second of the zoo's loader for a folder, without worker processes."""
    mean, deviation = (torch.tensor(values).view(1, 3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    dataset = _dataset(folder)
    start = time.perf_counter()
    for batch in evaluation_loader(dataset, _PREPROCESS, _BATCH, 0, decoding=_DECODING):
        assert batch.images is not None, "no image is skipped"
        as_float(batch.images.pixels).sub_(mean).div_(deviation)
    return len(dataset) / (time.perf_counter() - start)


@one_core()
def torchvision_rate(folder: Path) -> float:
    """Return the images per second of torchvision's `ImageFolder` with standard transforms, for a folder of class folders."""
    to_float = v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(IMAGENET_MEAN, IMAGENET_STD)
    dataset = ImageFolder(str(folder), v2.Compose([v2.Resize(256), v2.CenterCrop(224), *to_float]))
    start = time.perf_counter()
    count = sum(len(pictures) for pictures, _ in DataLoader(dataset, batch_size=_BATCH))
    return count / (time.perf_counter() - start)


def workers_rate(folder: Path, workers: int, repeats: int = 20) -> float:
    """Return the images per second of the zoo's loader with worker processes, measured after all workers have started."""
    dataset = _dataset(folder, repeats)
    batches = iter(evaluation_loader(dataset, _PREPROCESS, _BATCH, workers, decoding=_DECODING))
    first = sum(len(batch.keys) for batch in islice(batches, workers))
    start = time.perf_counter()
    rest = sum(len(batch.keys) for batch in batches)
    assert first + rest == len(dataset), "no image is skipped"
    return rest / (time.perf_counter() - start)


def _dataset(folder: Path, repeats: int = 1) -> Dataset:
    files = picture_files(folder) * repeats
    return Dataset(str(folder), tuple(Record(f"{index}", file, 0) for index, file in enumerate(files)))


def write_phone_photos(portraits: Path, folder: Path) -> Path:
    """Write portraits, enlarged to 12 megapixels, as JPEGs of about 2 MB into a class folder, and return the parent folder.

    An image that is only enlarged is smoother than a photo and faster to decode, so noise with a standard deviation of 4 is added.
    """
    files = photo_files(portraits, _REMEDY)
    inside = folder / "phone" / "all"
    inside.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for file in files:
        with Image.open(file) as picture:
            scale = (_MEGAPIXELS * 1e6 / (picture.width * picture.height)) ** 0.5
            large = picture.convert("RGB").resize((round(picture.width * scale), round(picture.height * scale)), Image.Resampling.BICUBIC)
        noisy = np.asarray(large) + 4 * generator.standard_normal((large.height, large.width, 3), dtype=np.float32)
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(inside / f"{file.stem}.jpg", quality=90)
    return inside.parent


def run(data: Path, rounds: int) -> list[Comparison]:
    """Run all comparisons with one thread. `data` is the folder that contains `photos` and `portraits`."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as scratch:
        photos = link_files(photo_files(data / "photos", _REMEDY), Path(scratch) / "photos" / "all").parent
        phone = write_phone_photos(data / "portraits", Path(scratch))
        return [
            compare("photos, one core, vs. torchvision", lambda: zoo_rate(photos), lambda: torchvision_rate(photos), 1.15, rounds),
            compare("12 megapixels, one core, vs. torchvision", lambda: zoo_rate(phone), lambda: torchvision_rate(phone), 3.0, rounds),
            compare("photos, two workers vs. one", lambda: workers_rate(photos, 2), lambda: workers_rate(photos, 1), 1.7, rounds),
        ]


@benchmark(
    data_flag("photos/ and portraits/"),
    count_flag("--rounds", 5, 1, 100, "number of timed runs of each loader, 1 to 100"),
)
def main(flags: Flags) -> int:
    """Run the benchmark and return the exit status: 0 if all targets are met, 1 if not, 2 if the data doesn't exist."""
    found = run(flags.data, flags.rounds)
    rows = [
        (line.name, f"{line.ours:.1f}", f"{line.theirs:.1f}", f"{line.ratio:.2f}", f"{line.bound:.2f}", "yes" if line.met else "no")
        for line in found
    ]
    table = make_table(f"images per second, medians of {flags.rounds}", ("", "zoo", "other", "ratio", "target", "met"), rows)
    content = {"comparisons": [{**asdict(line), "ratio": line.ratio, "met": line.met} for line in found], "rounds": flags.rounds}
    return report(flags.json, content, table, met=all(line.met for line in found))


if __name__ == "__main__":
    raise SystemExit(main())
