"""Identification: whose face is it, of those enrolled – and is it one of them at all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zoo.tasks.face.verification.protocol import Floats, Ints, Score, all_similarities

RANKS = (1, 5, 10)
FALSE_POSITIVE_RATES = {"fnir@1e-1": 1e-1, "fnir@1e-2": 1e-2}
_FALSE_POSITIVES = 10  # a rate that rests on fewer is not a measurement
_CHUNK = 1024  # probes compared at once, which bounds the memory
_SEED = 0


@dataclass(frozen=True)
class Identified:
    """Every probe against a gallery of one picture per person.

    Attributes:
        ranks: [P] at which place the probe's own person stands, from 0; people who are as alike count as before it.
        people: [P] the probe's person.
        enrolled: how many people the gallery holds.
    """

    ranks: Ints
    people: Ints
    enrolled: int

    def rate(self, rank: int, weights: Floats | None = None) -> float | None:
        """Return the part of probes whose person is among the first `rank`.

        None without probes, or where the gallery holds no more than `rank` people: then it would be certain.

        Args:
            rank: from 1.
            weights: [P] how often each probe counts; once where not given.
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
    """Identify among people who are all enrolled.

    The first picture of each identity is the gallery, all others are probes: people with one picture only make it harder.

    Args:
        rows: [N, D], as `verification.comparable` gives them.
        identities: [N].
        score: how rows are compared.
    """
    people, enrolled = np.unique(identities, return_index=True)
    probes = np.setdiff1d(np.arange(len(identities)), enrolled)
    ranks = np.empty(len(probes), np.int64)
    for start in range(0, len(probes), _CHUNK):
        part = probes[start : start + _CHUNK]
        alike = all_similarities(rows[part], rows[enrolled], score)  # [probes, people]
        own_column = np.searchsorted(people, identities[part])
        own = np.take_along_axis(alike, own_column[:, None], axis=1)
        # a stranger who is exactly as alike and stands earlier would be answered first, as argmax does
        earlier = (alike == own) & (np.arange(len(people)) < own_column[:, None])
        ranks[start : start + _CHUNK] = ((alike > own) | earlier).sum(1)
    return Identified(ranks, identities[probes], len(people))


def open_set(rows: Floats, identities: Ints, score: Score = "cosine") -> tuple[dict[str, float | None], dict[str, int]]:
    """Return the false negative identification rate at set false positive identification rates (ISO/IEC 19795-1; NIST FRVT 1:N).

    Half of the people, drawn by a fixed seed, are enrolled with their first picture. FPIR is the part of the probes of all others
    whose best match reaches the threshold; FNIR the part of the enrolled people's other pictures whose best match is somebody else or
    does not reach it.

    Args:
        rows: [N, D], as `verification.comparable` gives them.
        identities: [N].
        score: how rows are compared.

    Returns:
        The rates – None with too few probes to support one – and how many people and probes there were.
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
        # the lowest threshold at which no more than that part of the strangers is taken for somebody
        threshold = strangers[int(rate * len(others))]
        rates[name] = float((~right | (best <= threshold)).mean()) if supported else None
    return rates, counts


def _best(rows: Floats, probes: Ints, enrolled: Ints, identities: Ints, score: Score) -> tuple[Floats, NDArray[np.bool_]]:
    best, right = np.empty(len(probes)), np.empty(len(probes), np.bool_)
    for start in range(0, len(probes), _CHUNK):
        part = probes[start : start + _CHUNK]
        alike = all_similarities(rows[part], rows[enrolled], score)
        first = alike.argmax(1)
        best[start : start + _CHUNK] = alike[np.arange(len(part)), first]
        right[start : start + _CHUNK] = identities[enrolled[first]] == identities[part]
    return best, right
