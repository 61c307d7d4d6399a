"""How long a large COCO annotation file takes to open, and in how much memory: `python -m zoo.benchmarks.coco_opening`.

5,000 pictures and 500,000 boxes, written beforehand. A process of its own opens them, so that its peak memory belongs to nothing
else. Loading the libraries is not timed; the memory that is promised is the whole process's, with the libraries.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from rich.console import Console

MAX_SECONDS = 5.0
MAX_MIB = 1024.0


@dataclass(frozen=True)
class Opening:
    """What opening the annotations took.

    Attributes:
        pictures: in the file.
        boxes: in the file.
        seconds: wall-clock time, median of the openings.
        added_mib: most memory that opening took, above what the libraries held before.
        peak_mib: most memory that a process held resident; torch alone is half a GiB of it where it is built for CUDA.
    """

    pictures: int
    boxes: int
    seconds: float
    added_mib: float
    peak_mib: float

    @property
    def met(self) -> bool:
        """Whether time and memory are within what is promised."""
        return self.seconds < MAX_SECONDS and self.peak_mib < MAX_MIB


def write_annotations(folder: Path, pictures: int, boxes: int) -> None:
    """Write `instances.json` with seeded random boxes of 80 categories; every picture is the same small file, by hard links.

    Args:
        folder: an empty folder.
        pictures: how many; declared as 640 × 480.
        boxes: how many, spread evenly over the pictures.
    """
    generator = np.random.default_rng(0)
    corners = generator.uniform((0, 0), (500, 350), (boxes, 2)).round(2)
    sides = generator.uniform(5, 120, (boxes, 2)).round(2)
    categories = generator.integers(1, 81, boxes).tolist()
    annotations = [
        {
            "id": index + 1,
            "image_id": index % pictures + 1,
            "category_id": categories[index],
            "bbox": [*corners[index].tolist(), *sides[index].tolist()],
            "area": round(float(sides[index].prod()), 4),
            "iscrowd": 0,
        }
        for index in range(boxes)
    ]
    names = [f"{index:012d}.jpg" for index in range(1, pictures + 1)]
    content = {
        "images": [{"id": index, "file_name": name, "height": 480, "width": 640} for index, name in enumerate(names, 1)],
        "annotations": annotations,
        "categories": [{"id": index, "name": f"class {index}"} for index in range(1, 81)],
    }
    (folder / "instances.json").write_text(json.dumps(content))
    (folder / names[0]).write_bytes(b"pictures are not read when annotations are opened")
    for name in names[1:]:
        (folder / name).hardlink_to(folder / names[0])


def measure(folder: Path, rounds: int) -> Opening:
    """Open a folder's annotations, each time in a new process.

    Args:
        folder: as `write_annotations` left it.
        rounds: how many times.
    """
    results = [_in_new_process(folder) for _ in range(rounds)]
    middle = statistics.median(result.seconds for result in results)
    added, peak = max(result.added_mib for result in results), max(result.peak_mib for result in results)
    return replace(results[0], seconds=middle, added_mib=added, peak_mib=peak)


def _in_new_process(folder: Path) -> Opening:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    child = context.Process(target=_open, args=(folder, there))
    child.start()
    there.close()
    result: Opening = here.recv()
    child.join()
    return result


def _open(folder: Path, results: Connection) -> None:
    """Open once, and send what it took."""
    from zoo.benchmarks.harness.machine import peak_memory_mib
    from zoo.data.formats import open_data
    from zoo.task.contract import get_task

    schemes = get_task("detection").schemes
    assert "coco" in schemes, "loads the formats, before the clock starts"
    before = peak_memory_mib()
    start = time.perf_counter()
    dataset = open_data(f"coco:{folder}", schemes, "detection")
    seconds = time.perf_counter() - start
    peak = peak_memory_mib()
    boxes = sum(len(record.target["boxes"]) for record in dataset.records)
    results.send(Opening(len(dataset), boxes, seconds, peak - before, peak))


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line.

    Returns:
        0 where time and memory are within what is promised, else 1.
    """
    parser = argparse.ArgumentParser(prog="python -m zoo.benchmarks.coco_opening", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, choices=range(1, 101), metavar="N", help="openings, 1 to 100")
    parser.add_argument("--json", action="store_true", help="print one JSON object on standard output, and nothing else there")
    flags = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as scratch:
        write_annotations(Path(scratch), pictures=5_000, boxes=500_000)
        opening = measure(Path(scratch), flags.rounds)
    if flags.json:
        print(json.dumps({**asdict(opening), "max_seconds": MAX_SECONDS, "max_mib": MAX_MIB, "met": opening.met}))
    else:
        Console(highlight=False).print(
            f"{opening.pictures} pictures and {opening.boxes} boxes: {opening.seconds:.1f} s (promised: under {MAX_SECONDS:.0f}), "
            f"{opening.peak_mib:.0f} MiB (under {MAX_MIB:.0f}), of which opening took {opening.added_mib:.0f} and the libraries the rest: "
            f"{'met' if opening.met else 'not met'}",
            soft_wrap=True,
        )
    return 0 if opening.met else 1


if __name__ == "__main__":
    sys.exit(main())
