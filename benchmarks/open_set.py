"""Measure how often a gallery identifies strangers and enrolled people: `python -m zoo.benchmarks.open_set --data identities:…`.

For strangers, a gallery of all other people is created for each person, and all images of the person are identified in it. Enrolled people
are identified by the images that are not enrolled. The benchmark uses `zoo.Gallery.identify` with dlib's network, distance and threshold,
on faces detected and aligned with MTCNN.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from zoo import build, predict
from zoo.benchmarks.harness.command import Flags, benchmark, flag
from zoo.errors import DataError
from zoo.task.contract import get_task
from zoo.tasks.face.gallery import Embedder, Gallery
from zoo.tasks.face.prediction.faces import Faces

People = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Rates:
    """Identification rates for a number of enrolled images per person."""

    photos: int  # number of images enrolled per person
    strangers: int  # number of images of strangers
    named: float  # fraction of the strangers' images that are identified as an enrolled person, which is always wrong
    undecided: float  # fraction of the strangers' images with the decision "undecided"
    probes: int  # number of probe images of enrolled people
    right: float  # fraction of the probe images that are identified as the right person
    wrong: float  # fraction of the probe images that are identified as another person


def measure(people: People, embedder: Embedder, photos: int) -> Rates:
    """Measure identification rates with `photos` enrolled images per person; `people` maps names to embeddings, [N, D]."""
    for name, rows in people.items():
        if len(rows) <= photos:
            raise DataError(f"{name} has {len(rows)} faces; expected more than the {photos} to be enrolled")
    first = {name: rows[:photos] for name, rows in people.items()}
    strangers: Counter[str] = Counter()
    probes: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        for number, (left_out, rows) in enumerate(people.items()):
            with Gallery(Path(folder) / str(number), embedder) as gallery:
                gallery.enroll_all({name: faces for name, faces in first.items() if name != left_out})
                strangers.update(answer.decision for answer in gallery.identify(rows))
        with Gallery(Path(folder) / "all", embedder) as gallery:
            gallery.enroll_all(first)
            for name, rows in people.items():
                answers = gallery.identify(rows[photos:])
                probes.update("right" if answer.name == name else "wrong" if answer.name else "none" for answer in answers)
    asked, known = strangers.total(), probes.total()
    parts = strangers["known"] / asked, strangers["undecided"] / asked
    return Rates(photos, asked, *parts, known, probes["right"] / known, probes["wrong"] / known)


@benchmark(
    flag("--data", required=True, help="dataset string of the people: identities:FOLDER?split=…"),
    flag("--photos", type=int, nargs="+", default=[1, 3], help="numbers of images to enroll per person; each is measured separately"),
)
def main(flags: Flags) -> int:
    """Run the benchmark and return the exit status: 0, or 2 if the input is invalid."""
    people, embedder = embedded(flags.data)
    found = [measure(people, embedder, photos) for photos in flags.photos]
    if flags.json:
        print(json.dumps({"people": len(people), "model": str(embedder), "rates": [asdict(rates) for rates in found]}))
        return 0
    for rates in found:
        print(
            f"{len(people) - 1} people enrolled with {rates.photos} each: of {rates.strangers} images of strangers "
            f"{rates.named:.1%} are identified and {rates.undecided:.1%} undecided; of {rates.probes} images of enrolled people "
            f"{rates.right:.1%} are identified correctly and {rates.wrong:.1%} as another person"
        )
    return 0


def embedded(data: str) -> tuple[People, Embedder]:
    """Return the embeddings of the most central face in each image, by person, and the description of dlib's model."""
    model = build("dlib_resnet29", "face", weights="default")
    opened = get_task("face").open(data)
    people: dict[str, list[NDArray[np.float32]]] = {name: [] for name in opened.classes}
    sources = [record.source for record in opened.records]
    for record, found in zip(opened.records, predict(model, sources, faces="central"), strict=True):
        assert isinstance(found, Faces)
        people[opened.classes[record.target]] += list(found.embeddings)
    return {name: np.stack(rows) for name, rows in people.items() if rows}, Embedder.of(model)


if __name__ == "__main__":
    raise SystemExit(main())
