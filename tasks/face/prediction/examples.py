"""Examples for reports: faces next to their nearest neighbours in embedding space."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.data.dataset import Record
from zoo.task.answers import Example, drawn

_POOL = 120  # maximum number of images that are compared with each other
_EACH = 4  # maximum number of images per person


def pool(records: Sequence[Record]) -> list[Record]:
    """Return the records to compare: a few of each person with several images, or a sample of all records if there is no such person."""
    of_person: dict[Any, list[Record]] = defaultdict(list)
    for record in records:
        of_person[record.target].append(record)
    several = [drawn(own, _EACH) for person, own in of_person.items() if person is not None and len(own) > 1]
    first = {record.key for record in drawn([own[0] for own in several], _POOL // _EACH)}
    chosen = [record for own in several if own[0].key in first for record in own]
    return chosen or drawn(records, _POOL)


def examples(embeddings: Sequence[NDArray[np.float32]], people: Sequence[Any], keys: Sequence[str], count: int) -> Iterator[Example]:
    """Yield up to `count` examples: an image and its nearest neighbour by cosine. The first examples each show a different person.

    Args:
        embeddings: embedding [D] of each image.
        people: person in each image; None if unknown.
        keys: key of each image.
        count: maximum number of examples.
    """
    if len(keys) < 2:
        return
    rows = np.stack(embeddings).astype(np.float64)
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    cosines = rows @ rows.T
    np.fill_diagonal(cosines, -np.inf)
    repeated = [list(people[:place]).count(person) for place, person in enumerate(people)]
    for place in np.argsort(repeated, kind="stable")[:count].tolist():
        nearest = int(cosines[place].argmax())
        person, other = people[place], people[nearest]
        known = person is not None and other is not None
        again = known and list(people).count(person) > 1
        truth = "" if not known else "the same person" if person == other else "another person"
        answer = f"nearest of {len(keys) - 1} others, cosine {cosines[place, nearest]:.2f}"
        yield Example((keys[place], keys[nearest]), answer, truth, person == other if again else None)
