"""Identification: which enrolled person a face belongs to, and whether it belongs to any of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zoo.tasks.face.verification.protocol import Floats, Ints, Score, all_similarities

RANKS = (1, 5, 10)
FALSE_POSITIVE_RATES = {"fnir@1e-1": 1e-1, "fnir@1e-2": 1e-2}
_FALSE_POSITIVES = 10  # a rate based on fewer is not a measurement
_CHUNK = 1024  # probes compared at once, which bounds memory use
_SEED = 0


@dataclass(frozen=True)
class Identified:
    """Ranks of all probes in a gallery of one image per person."""

    ranks: Ints  # [P] rank of each probe's own person, from 0; of equally similar people, those earlier in the gallery rank first
    people: Ints  # [P] person of each probe
    enrolled: int  # number of people in the gallery

    def rate(self, rank: int, weights: Floats | None = None) -> float | None:
        """Return the fraction of probes, optionally weighted [P], whose person is among the first `rank` people, counted from 1.

        None without probes, or if the gallery holds no more than `rank` people, because success would be certain.
        """
        if self.enrolled <= rank or not len(self.ranks):
            return None
        found = self.ranks < rank
        if weights is None:
            return float(found.mean())
        return float((weights * found).sum() / weights.sum()) if weights.sum() > 0 else float("nan")

    def curve(self, most: int = 50) -> list[float]:
        """Return the cumulative match characteristic: the rate at rank 1, at rank 2 and so on."""
        return [float((self.ranks < rank).mean()) for rank in range(1, min(most, self.enrolled) + 1)] if len(self.ranks) else []


def closed_set(rows: Floats, identities: Ints, score: Score = "cosine") -> Identified:
    """Identify probes of people who are all enrolled, from comparable embeddings [N, D] (`protocol.comparable`) with identities [N].

    The first image of each identity is enrolled, all others are probes. People with a single image only make the task harder.
    """
    people, enrolled = np.unique(identities, return_index=True)
    probes = np.setdiff1d(np.arange(len(identities)), enrolled)
    ranks = np.empty(len(probes), np.int64)
    for places, alike in _compared(rows, probes, enrolled, score):
        own_column = np.searchsorted(people, identities[probes[places]])
        own = np.take_along_axis(alike, own_column[:, None], axis=1)
        # an equally similar stranger at an earlier position would be the answer, as with argmax
        earlier = (alike == own) & (np.arange(len(people)) < own_column[:, None])
        ranks[places] = ((alike > own) | earlier).sum(1)
    return Identified(ranks, identities[probes], len(people))


def open_set(rows: Floats, identities: Ints, score: Score = "cosine") -> tuple[dict[str, float | None], dict[str, int]]:
    """Return the false negative identification rate at set false positive identification rates (ISO/IEC 19795-1; NIST FRVT 1:N).

    Half of the people, drawn with a fixed seed, are enrolled with their first image. FPIR is the fraction of probes of all other people
    whose best match reaches the threshold. FNIR is the fraction of the enrolled people's other images whose best match is another person
    or does not reach the threshold. The arguments are those of `closed_set`.

    Returns:
        The rates, None for those with too few probes, and the numbers of enrolled people and of probes.
    """
    people = np.unique(identities)
    chosen = np.sort(np.random.default_rng(_SEED).permutation(people)[: len(people) // 2])
    inside = np.isin(identities, chosen)
    own = np.flatnonzero(inside)
    enrolled = own[np.unique(identities[own], return_index=True)[1]] if len(own) else own
    mated, others = np.setdiff1d(own, enrolled), np.flatnonzero(~inside)
    counts = {"enrolled": len(enrolled), "mated_probes": len(mated), "non_mated_probes": len(others)}
    if not len(mated) or not len(others) or len(enrolled) < 2:
        return dict.fromkeys(FALSE_POSITIVE_RATES), counts
    best, right = _best(rows, mated, enrolled, identities, score)
    strangers = np.sort(_best(rows, others, enrolled, identities, score)[0])[::-1]
    rates: dict[str, float | None] = {}
    for name, rate in FALSE_POSITIVE_RATES.items():
        supported = len(others) >= _FALSE_POSITIVES / rate
        # the lowest threshold at which no more than this fraction of the strangers is accepted
        threshold = strangers[int(rate * len(others))]
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
    """Yield the similarities [p, people] of some probes at a time to all enrolled people, with their places among the probes."""
    for start in range(0, len(probes), _CHUNK):
        places = slice(start, start + _CHUNK)
        yield places, all_similarities(rows[probes[places]], rows[enrolled], score)
