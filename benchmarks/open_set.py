"""How often a gallery names a stranger, and how often somebody enrolled: `python -m zoo.benchmarks.open_set --data identities:…`.

Everybody in turn is left out of a gallery of all others, and all of the one's pictures are asked about; those who are enrolled are asked
about with the pictures that they were not enrolled with. All of it by `zoo.Gallery.identify`, with dlib's network, its distance and its
threshold, on faces that MTCNN finds and aligns.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from zoo.errors import DataError, ZooError
from zoo.models.builder import build
from zoo.prediction.predict import predict
from zoo.task.contract import get_task
from zoo.tasks.face.gallery import Embedder, Gallery
from zoo.tasks.face.prediction.faces import Faces

People = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Rates:
    """What a gallery answers.

    Attributes:
        photos: of each person enrolled.
        strangers: questions about people who are not.
        named: part of them that got a name, which is always wrong.
        undecided: part of them that was left open.
        probes: questions about people who are enrolled.
        right: part of them that got the right name.
        wrong: part that got another one's.
    """

    photos: int
    strangers: int
    named: float
    undecided: float
    probes: int
    right: float
    wrong: float


def measure(people: People, embedder: Embedder, photos: int) -> Rates:
    """Ask about strangers, and about people who are enrolled.

    Args:
        people: [N, D] embeddings of each.
        embedder: their model.
        photos: of each person to enrol.

    Raises:
        DataError: a person without a picture to ask about.
    """
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


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print.

    Args:
        argv: the words after the module; None for the process's own.

    Returns:
        The exit status.
    """
    parser = argparse.ArgumentParser("python -m zoo.benchmarks.open_set", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", required=True, help="people: identities:FOLDER?split=…")
    parser.add_argument("--photos", type=int, nargs="+", default=[1, 3], help="of each person enrolled")
    parser.add_argument("--json", action="store_true", help="print one JSON object, and nothing else")
    flags = parser.parse_args(argv)
    try:
        people, embedder = embedded(flags.data)
        found = [measure(people, embedder, photos) for photos in flags.photos]
    except ZooError as error:
        print(f"open_set: {error}", file=sys.stderr)
        return error.exit_status
    if flags.json:
        print(json.dumps({"people": len(people), "model": str(embedder), "rates": [asdict(rates) for rates in found]}))
        return 0
    for rates in found:
        print(
            f"{rates.photos} of each of {len(people) - 1} people enrolled: of {rates.strangers} pictures of strangers "
            f"{rates.named:.1%} are named and {rates.undecided:.1%} left undecided; of {rates.probes} of people enrolled "
            f"{rates.right:.1%} get the right name, {rates.wrong:.1%} another's"
        )
    return 0


def embedded(data: str) -> tuple[People, Embedder]:
    """Return the embeddings of each person's main faces, and the model: dlib's.

    Args:
        data: people, as for the task face.
    """
    model = build("dlib_resnet29", "face", weights="default")
    opened = get_task("face").open(data)
    people: dict[str, list[NDArray[np.float32]]] = {name: [] for name in opened.classes}
    sources = [record.source for record in opened.records]
    for record, found in zip(opened.records, predict(model, sources, faces="central"), strict=True):
        assert isinstance(found, Faces)
        people[opened.classes[record.target]] += list(found.embeddings)
    return {name: np.stack(rows) for name, rows in people.items() if rows}, Embedder.of(model)


if __name__ == "__main__":
    sys.exit(main())
