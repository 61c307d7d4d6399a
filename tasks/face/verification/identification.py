"""Identification scores: closed-set (the person is enrolled) and open-set (the person may not be enrolled)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zoo.tasks.face.verification.protocol import Floats, Ints, Score, all_similarities

RANKS = (1, 5, 10)
FALSE_POSITIVE_RATES = {"fnir@1e-1": 1e-1, "fnir@1e-2": 1e-2}
_FALSE_POSITIVES = 10  # minimum number of false positives that a rate must be based on
_CHUNK = 1024  # number of probes compared at once; limits memory use
_SEED = 0


@dataclass(frozen=True)
class Identified:
    """Ranks of all probes, compared with a gallery of one image per person."""

    ranks: Ints  # [P] rank of the correct person for each probe, from 0; ties rank in gallery order
    people: Ints  # [P] identity of each probe
    enrolled: int  # number of people in the gallery

    def rate(self, rank: int, weights: Floats | None = None) -> float | None:
        """Return the rank-k identification rate: the fraction of probes, with weights [P], whose person is among the `rank` most similar.

        Returns None if there are no probes, or if the gallery holds at most `rank` people, because the rate would always be 1.
        """
        if self.enrolled <= rank or not len(self.ranks):
            return None
        found = self.ranks < rank
        if weights is None:
            return float(found.mean())
        return float((weights * found).sum() / weights.sum()) if weights.sum() > 0 else float("nan")

    def curve(self, most: int = 50) -> list[float]:
        """Return the cumulative match characteristic: the identification rates at ranks 1, 2, … up to `most`."""
        return [float((self.ranks < rank).mean()) for rank in range(1, min(most, self.enrolled) + 1)] if len(self.ranks) else []


def closed_set(rows: Floats, identities: Ints, score: Score = "cosine") -> Identified:
    """Identify probes in a gallery in which every person is enrolled.

    The first image of each person is enrolled, and all other images are probes. A person with a single image is enrolled but has no probe.
    `rows` are embeddings [N, D] from `protocol.comparable`, with identities [N].
    """
    people, enrolled = np.unique(identities, return_index=True)
    probes = np.setdiff1d(np.arange(len(identities)), enrolled)
    ranks = np.empty(len(probes), np.int64)
    for places, alike in _compared(rows, probes, enrolled, score):
        own_column = np.searchsorted(people, identities[probes[places]])
        own = np.take_along_axis(alike, own_column[:, None], axis=1)
        # of equally similar people, the one earlier in the gallery ranks first, as with argmax
        earlier = (alike == own) & (np.arange(len(people)) < own_column[:, None])
        ranks[places] = ((alike > own) | earlier).sum(1)
    return Identified(ranks, identities[probes], len(people))


@dataclass(frozen=True)
class Probes:
    """Probes of open-set identification, compared with a gallery of half of the people, who are enrolled with one image each."""

    enrolled: int  # number of people in the gallery
    mated: Ints  # [P] identity of each probe of an enrolled person
    best: Floats  # [P] largest similarity of each of them to an enrolled image
    right: NDArray[np.bool_]  # [P] whether the most similar image shows the right person
    others: Ints  # [Q] identity of each probe of a person who is not enrolled
    best_others: Floats  # [Q] largest similarity of each of them


def open_probes(rows: Floats, identities: Ints, score: Score = "cosine") -> Probes:
    """Compare the probes of open-set identification. Half of the people, drawn with a fixed seed, are enrolled with their first image.

    The similarities are empty if there is nothing to compare: no probe of either kind, or fewer than two enrolled people.
    """
    people = np.unique(identities)
    chosen = np.sort(np.random.default_rng(_SEED).permutation(people)[: len(people) // 2])
    inside = np.isin(identities, chosen)
    own = np.flatnonzero(inside)
    enrolled = own[np.unique(identities[own], return_index=True)[1]] if len(own) else own
    mated, others = np.setdiff1d(own, enrolled), np.flatnonzero(~inside)
    if not len(mated) or not len(others) or len(enrolled) < 2:
        nothing = np.empty(0)
        return Probes(len(enrolled), identities[mated], nothing, np.empty(0, np.bool_), identities[others], nothing)
    best, right = _best(rows, mated, enrolled, identities, score)
    strangers = _best(rows, others, enrolled, identities, score)[0]
    return Probes(len(enrolled), identities[mated], best, right, identities[others], strangers)


def open_set(rows: Floats, identities: Ints, score: Score = "cosine") -> tuple[dict[str, float | None], dict[str, int]]:
    """Return the false negative identification rate (FNIR) at fixed false positive identification rates (FPIR).

    The definitions are those of ISO/IEC 19795-1 and NIST FRVT 1:N. Half of the people are enrolled (see `open_probes`). FPIR is the
    fraction of the probes of people who are not enrolled whose best match is above the threshold. FNIR is the fraction of the other images
    of enrolled people whose best match is the wrong person or is not above the threshold.

    Returns:
        FNIR by score name, None if there are too few probes; and the numbers of enrolled people, of mated and of non-mated probes.
    """
    found = open_probes(rows, identities, score)
    counts = {"enrolled": found.enrolled, "mated_probes": len(found.mated), "non_mated_probes": len(found.others)}
    if not len(found.best):
        return dict.fromkeys(FALSE_POSITIVE_RATES), counts
    best, right, strangers = found.best, found.right, np.sort(found.best_others)[::-1]
    rates: dict[str, float | None] = {}
    for name, rate in FALSE_POSITIVE_RATES.items():
        supported = len(found.others) >= _FALSE_POSITIVES / rate
        # at most this fraction of the non-mated probes has a best match above the threshold
        threshold = strangers[int(rate * len(found.others))]
        rates[name] = float((~right | (best <= threshold)).mean()) if supported else None
    return rates, counts


def _best(rows: Floats, probes: Ints, enrolled: Ints, identities: Ints, score: Score) -> tuple[Floats, NDArray[np.bool_]]:
    best, right = np.empty(len(probes)), np.empty(len(probes), np.bool_)
    for places, alike in _compared(rows, probes, enrolled, score):
        first = alike.argmax(1)
        best[places] = alike[np.arange(len(alike)), first]
        right[places] = identities[enrolled[first]] == identities[probes[places]]
    return best, right


def _compared(rows: Floats, probes: Ints, enrolled: Ints, score: Score) -> Iterator[tuple[slice, Floats]]:
    """Yield each chunk of probes as a slice of `probes`, with their similarities to all enrolled images [p, G]."""
    for start in range(0, len(probes), _CHUNK):
        places = slice(start, start + _CHUNK)
        yield places, all_similarities(rows[probes[places]], rows[enrolled], score)
