"""How quickly pictures get from files to batches, beside torchvision: `python -m zoo.benchmarks.input_pipeline`.

Both sides read the same files with one core, scale them to 224 pixels as ImageNet's evaluation does, and end with the same
normalised float batches; they take turns, and medians are compared. Normalising is part of a zoo model and is timed here as well.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from zoo.data.dataset import Dataset, Record
from zoo.data.folders import picture_files
from zoo.data.loader import evaluation_loader
from zoo.errors import DataError, ZooError
from zoo.images.decoding import Decoding
from zoo.images.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocess, as_float

_PREPROCESS = Preprocess()
_DECODING = Decoding(_PREPROCESS.min_size_hw)
_BATCH = 16
_MEGAPIXELS = 12


@dataclass(frozen=True)
class Comparison:
    """One line of the table.

    Attributes:
        name: what was measured.
        ours: pictures per second, median over the rounds.
        theirs: the same of what it is compared with.
        bound: the ratio that is promised.
    """

    name: str
    ours: float
    theirs: float
    bound: float

    @property
    def ratio(self) -> float:
        """How many times as many pictures per second."""
        return self.ours / self.theirs

    @property
    def met(self) -> bool:
        """Whether the ratio reaches the bound."""
        return self.ratio >= self.bound


def compare(name: str, ours: Callable[[], float], theirs: Callable[[], float], bound: float, rounds: int) -> Comparison:
    """Measure two sides in turns, after one turn each that isn't counted.

    Args:
        name: what is measured.
        ours: runs once and returns pictures per second.
        theirs: the same.
        bound: the ratio that is promised.
        rounds: turns of each side that are counted.
    """
    rates = [(ours(), theirs()) for _ in range(rounds + 1)][1:]
    return Comparison(name, statistics.median(rate[0] for rate in rates), statistics.median(rate[1] for rate in rates), bound)


@contextlib.contextmanager
def one_core() -> Iterator[None]:
    """Keep to one core, with the threads that are started meanwhile, where the system can."""
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
    """Return the zoo's pictures per second over a folder, in this process."""
    mean, deviation = (torch.tensor(values).view(1, 3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    dataset = _dataset(folder)
    start = time.perf_counter()
    for batch in evaluation_loader(dataset, _PREPROCESS, _BATCH, 0, decoding=_DECODING):
        assert batch.images is not None, "nothing is skipped"
        as_float(batch.images.pixels).sub_(mean).div_(deviation)
    return len(dataset) / (time.perf_counter() - start)


@one_core()
def torchvision_rate(folder: Path) -> float:
    """Return the pictures per second of `ImageFolder`, PIL and the standard transforms over a folder of class folders."""
    transform = v2.Compose(
        [
            v2.Resize(256),
            v2.CenterCrop(224),
            v2.PILToTensor(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(IMAGENET_MEAN, IMAGENET_STD),
        ]
    )
    dataset = ImageFolder(str(folder), transform)
    start = time.perf_counter()
    count = sum(len(pictures) for pictures, _ in DataLoader(dataset, batch_size=_BATCH))
    return count / (time.perf_counter() - start)


def workers_rate(folder: Path, workers: int, repeats: int = 20) -> float:
    """Return the zoo's pictures per second with loader processes, from the moment when all of them are at work.

    Args:
        folder: pictures.
        workers: loader processes.
        repeats: how often the folder is read.
    """
    dataset = _dataset(folder, repeats)
    batches = iter(evaluation_loader(dataset, _PREPROCESS, _BATCH, workers, decoding=_DECODING))
    first = sum(len(batch.keys) for batch in islice(batches, workers))
    start = time.perf_counter()
    rest = sum(len(batch.keys) for batch in batches)
    assert first + rest == len(dataset), "nothing is skipped"
    return rest / (time.perf_counter() - start)


def _dataset(folder: Path, repeats: int = 1) -> Dataset:
    files = picture_files(folder) * repeats
    return Dataset(str(folder), tuple(Record(f"{index}", file, 0) for index, file in enumerate(files)))


def link_photos(photos: Path, folder: Path) -> Path:
    """Put links to pictures into one class folder, as `ImageFolder` wants them, and return the folder above it.

    Raises:
        DataError: there are none.
    """
    files = picture_files(photos) if photos.is_dir() else []
    if not files:
        raise DataError(f"{photos} holds no pictures. Say with --data where photos/ and portraits/ are")
    inside = folder / "photos" / "all"
    inside.mkdir(parents=True)
    for file in files:
        (inside / file.name).symlink_to(file.resolve())
    return inside.parent


def write_phone_photos(portraits: Path, folder: Path) -> Path:
    """Write portraits as JPEGs of 12 megapixels and about 2 MB, and return the folder above them.

    A cubic enlargement alone is smoother than any camera's picture, and quicker to decode; a little noise (deviation 4) brings the
    files to the size of a phone's. Much of the time of a reduced decoding is their entropy coding, which noise makes longer.

    Raises:
        DataError: there are no portraits.
    """
    files = picture_files(portraits) if portraits.is_dir() else []
    if not files:
        raise DataError(f"{portraits} holds no pictures. Say with --data where photos/ and portraits/ are")
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
    """Make all comparisons, with one thread.

    Args:
        data: the folder with `photos` and `portraits`.
        rounds: turns of each side that are counted.

    Raises:
        DataError: the pictures aren't there.
    """
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as scratch:
        photos, phone = link_photos(data / "photos", Path(scratch)), write_phone_photos(data / "portraits", Path(scratch))
        return [
            compare("photos, one core, beside torchvision", lambda: zoo_rate(photos), lambda: torchvision_rate(photos), 1.15, rounds),
            compare("12 megapixels, one core, beside torchvision", lambda: zoo_rate(phone), lambda: torchvision_rate(phone), 3.0, rounds),
            compare("photos, two workers beside one", lambda: workers_rate(photos, 2), lambda: workers_rate(photos, 1), 1.7, rounds),
        ]


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line.

    Returns:
        0 where every bound is met, 1 where one isn't, 2 where the data isn't there.
    """
    parser = argparse.ArgumentParser(prog="python -m zoo.benchmarks.input_pipeline", description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="the folder with photos/ and portraits/")
    parser.add_argument("--rounds", type=int, default=5, choices=range(1, 101), metavar="N", help="turns of each side, 1 to 100")
    parser.add_argument("--json", action="store_true", help="print one JSON object on standard output, and nothing else there")
    flags = parser.parse_args(argv)
    try:
        comparisons = run(flags.data, flags.rounds)
    except ZooError as error:
        print(f"input_pipeline: {error}", file=sys.stderr)
        return error.exit_status
    if flags.json:
        lines = [{**asdict(line), "ratio": line.ratio, "met": line.met} for line in comparisons]
        print(json.dumps({"comparisons": lines, "rounds": flags.rounds, "load": os.getloadavg()[0]}))
    else:
        _print(comparisons, flags.rounds)
    return 0 if all(line.met for line in comparisons) else 1


def _print(comparisons: Sequence[Comparison], rounds: int) -> None:
    table = Table("", "zoo", "other", "ratio", "promised", "met", title=f"pictures per second, medians of {rounds}", title_justify="left")
    for line in comparisons:
        met = "yes" if line.met else "no"
        table.add_row(line.name, f"{line.ours:.1f}", f"{line.theirs:.1f}", f"{line.ratio:.2f}", f"{line.bound:.2f}", met)
    console = Console(highlight=False)
    console.print(table)
    console.print(f"other processes take time from both sides; load average {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    sys.exit(main())
