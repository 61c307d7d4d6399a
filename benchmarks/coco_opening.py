"""Measure the time and memory needed to open a large COCO annotation file: `python -m zoo.benchmarks.coco_opening`.

An annotation file with 5,000 images and 500,000 boxes is generated. It is opened in a new process, so that its peak memory is measured
alone. The import of the libraries is not timed, but the memory target applies to the whole process, libraries included.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from zoo.benchmarks.harness.command import Flags, benchmark, count_flag, in_new_process, report, timed

MAX_SECONDS = 5.0
MAX_MIB = 1024.0


@dataclass(frozen=True)
class Opening:
    """Time and memory needed to open the annotation file."""

    pictures: int  # number of images
    boxes: int  # number of boxes
    seconds: float  # median wall-clock time in seconds
    added_mib: float  # maximum increase of the process's peak memory by opening, in MiB
    peak_mib: float  # maximum peak resident memory of the process in MiB; torch takes 512 of them if it is built for CUDA

    @property
    def met(self) -> bool:
        """Whether time and memory are below their targets."""
        return self.seconds < MAX_SECONDS and self.peak_mib < MAX_MIB


def write_annotations(folder: Path, pictures: int, boxes: int) -> None:
    """Write `instances.json` with random boxes of 80 categories, spread evenly over 640×480 images, all links to one small file."""
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
    (folder / names[0]).write_bytes(b"images are not read when annotations are opened")
    for name in names[1:]:
        (folder / name).hardlink_to(folder / names[0])


def measure(folder: Path, rounds: int) -> Opening:
    """Open the annotations in a folder `rounds` times, each time in a new process, and return the combined cost."""
    results = [in_new_process(_open, folder) for _ in range(rounds)]
    peaks = {name: max(getattr(result, name) for result in results) for name in ("added_mib", "peak_mib")}
    return replace(results[0], seconds=statistics.median(result.seconds for result in results), **peaks)


def _open(folder: Path) -> Opening:
    from zoo.benchmarks.harness.measurement import peak_memory_mib
    from zoo.data.formats import open_data
    from zoo.task.contract import get_task

    schemes = get_task("detection").data.schemes
    assert "coco" in schemes, "imports the formats before the timing starts"
    before = peak_memory_mib()
    dataset, seconds = timed(open_data, f"coco:{folder}", schemes, "detection")
    peak = peak_memory_mib()
    boxes = sum(len(record.target["boxes"]) for record in dataset.records)
    return Opening(len(dataset), boxes, seconds, peak - before, peak)


@benchmark(count_flag("--rounds", 3, 1, 100, "number of times the file is opened, 1 to 100"))
def main(flags: Flags) -> int:
    """Run the benchmark and return the exit status: 0 if time and memory are below their targets, otherwise 1."""
    with tempfile.TemporaryDirectory() as scratch:
        write_annotations(Path(scratch), pictures=5_000, boxes=500_000)
        opening = measure(Path(scratch), flags.rounds)
    content = {**asdict(opening), "max_seconds": MAX_SECONDS, "max_mib": MAX_MIB, "met": opening.met}
    shown = (
        f"{opening.pictures} images and {opening.boxes} boxes: {opening.seconds:.1f} s (target: below {MAX_SECONDS:.0f}), "
        f"{opening.peak_mib:.0f} MiB (target: below {MAX_MIB:.0f}), {opening.added_mib:.0f} for opening and the rest for libraries: "
        f"{'met' if opening.met else 'not met'}"
    )
    return report(flags.json, content, shown, met=opening.met)


if __name__ == "__main__":
    raise SystemExit(main())
