"""Worst pairs, curves, and examples with nearest neighbours, for the evaluation report of the face task."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.data.dataset import Record
from zoo.task.answers import Example, drawn
from zoo.task.metric import Curve, Mistake
from zoo.tasks.face.verification.bootstrap import Pairs
from zoo.tasks.face.verification.identification import Identified
from zoo.tasks.face.verification.protocol import Floats, Score
from zoo.tasks.face.verification.roc import Roc

_SHOWN = 8  # maximum number of genuine pairs, and of impostor pairs
_POINTS = 400  # points per curve
_BINS = 40
_POOL = 120  # maximum number of images that are compared with each other
_EACH = 4  # maximum number of images per person


def worst_pairs(compared: Pairs, keys: Sequence[str], threshold: float | None, score: Score = "cosine") -> tuple[Mistake, ...]:
    """Return the misclassified pairs that are farthest from the threshold, worst first; no pairs without a threshold.

    The pairs are indices into `keys`. The threshold is the lowest similarity at which a pair counts as genuine.
    """
    if threshold is None:
        return ()
    similar = compared.values
    excess = np.where(compared.genuine, threshold - similar, similar - threshold)
    name, sign = ("similarity", 1) if score == "cosine" else ("distance", -1)
    mistakes = []
    for genuine in (False, True):
        places = np.flatnonzero((compared.genuine == genuine) & (excess > 0))
        words = "one person, taken for two people" if genuine else "two people, taken for one person"
        for place in places[np.argsort(-excess[places], kind="stable")[:_SHOWN]]:
            pair = (keys[compared.first[place]], keys[compared.second[place]])
            text = f"{words}: {name} {sign * similar[place]:.3f}, threshold {sign * threshold:.3f}"
            mistakes.append(Mistake(pair, text, float(excess[place])))
    return tuple(sorted(mistakes, key=lambda mistake: -mistake.badness))


def face_curves(
    genuine: Floats, impostor: Floats, identified: Identified | None, limit: float | None = None, threshold: float | None = None
) -> tuple[Curve, ...]:
    """Return the ROC, the histogram of similarities and the cumulative match characteristic, omitting those that lack data.

    On the ROC, the operating point of the model is marked: pairs count as the same person if their similarity is above `limit`, which
    belongs to the distance `threshold`.
    """
    curves = []
    if len(genuine) and len(impostor):
        roc = Roc.of(genuine, impostor)
        shown = np.unique(np.linspace(0, len(roc.far) - 1, _POINTS).astype(int))
        far = np.maximum(roc.far[shown], 1 / roc.impostors)  # a logarithmic axis can't show a rate of 0
        line, marks = (far.tolist(), roc.tar[shown].tolist()), {}
        if limit is not None:
            wrong, right = (float((values > limit).mean()) for values in (impostor, genuine))
            words = f"distance {threshold:.3g}, true accept rate {right:.3g}, false accept rate {wrong:.3g}"
            marks["ROC"] = (max(wrong, 1 / roc.impostors), right, words)
        curves.append(Curve("ROC", "false accept rate", "true accept rate", {"ROC": line}, log_x=True, marks=marks))
        edges = np.histogram_bin_edges(np.concatenate([genuine, impostor]), _BINS)
        middle = ((edges[1:] + edges[:-1]) / 2).tolist()
        kinds = {"one person": genuine, "two people": impostor}
        lines = {name: (middle, (np.histogram(values, edges)[0] / len(values)).tolist()) for name, values in kinds.items()}
        curves.append(Curve("Similarity of pairs", "similarity", "fraction of pairs", lines))
    found = identified.curve() if identified is not None else []
    if len(found) > 1:
        places = [float(rank) for rank in range(1, len(found) + 1)]
        curves.append(Curve("Cumulative match characteristic", "rank", "fraction of probes found", {"CMC": (places, found)}))
    return tuple(curves)


def example_records(records: Sequence[Record]) -> list[Record]:
    """Return the records to compare: a few of each person with several images, or a sample of all records if there is no such person."""
    of_person: dict[Any, list[Record]] = defaultdict(list)
    for record in records:
        of_person[record.target].append(record)
    several = [drawn(own, _EACH) for person, own in of_person.items() if person is not None and len(own) > 1]
    first = {record.key for record in drawn([own[0] for own in several], _POOL // _EACH)}
    chosen = [record for own in several if own[0].key in first for record in own]
    return chosen or drawn(records, _POOL)


def examples(embeddings: Sequence[NDArray[np.float32]], people: Sequence[Any], keys: Sequence[str], count: int) -> Iterator[Example]:
    """Yield up to `count` examples: an image and its nearest neighbour by cosine similarity. The first ones show different people.

    The embeddings have the shape [D], and people are None if unknown.
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
