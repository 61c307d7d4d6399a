"""Attack protocol for face verification: dodging (not being recognised) and impersonation (being taken for another person).

One image of each pair, the probe, is attacked; the other, the enrolled one, stays unchanged. In a genuine pair the probe is pushed away
from the other image (dodging), in an impostor pair it is pulled towards it (impersonation): the two goals of Sharif et al. 2016,
"Accessorize to a Crime". Every pair is attacked separately, even where pairs share an image.

An attacker doesn't change the system's threshold: clean and attacked pairs are decided by the same thresholds, chosen on clean pairs of
other people. An accuracy far below one half is therefore possible; it means that nearly every attack succeeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from zoo.data.dataset import Dataset, Record
from zoo.errors import DataError
from zoo.task.attack import AttackProtocol
from zoo.task.metric import MetricResult
from zoo.tasks.face.attack.pairs import choose_pairs
from zoo.tasks.face.attack.scores import score_pairs
from zoo.tasks.face.embedding.checks import check_answer
from zoo.tasks.face.verification import protocol
from zoo.tasks.face.verification.bootstrap import Pairs
from zoo.tasks.face.verification.protocol import Floats, Ints, Score


class PairAttack(AttackProtocol):
    """Attack that lowers the similarity of genuine pairs and raises that of impostor pairs."""

    def __init__(self, dataset: Dataset, pairs: int, seed: int, score: Score = "cosine") -> None:
        """Choose the pairs.

        Args:
            dataset: images with people as targets, or with pairs.
            pairs: maximum number of pairs of each kind.
            seed: seed of the choice of pairs.
            score: similarity that is attacked and compared: "cosine", or "euclidean" for the distance of unnormalised embeddings.

        Raises:
            InputError: there are no genuine or no impostor pairs, or an image has no identity.
        """
        self._records, self._score = dataset.records, score
        self._pairs, self._missing = choose_pairs(dataset, pairs, seed), 0
        self.pictures = replace(dataset, records=tuple(self._records[place] for place in np.unique(self._pairs.places)))
        self._clean: Mapping[str, Any] = {}

    def attacked(self, answers: Mapping[str, Any]) -> Dataset:
        """Return the probes to attack, one for each pair whose images could both be read; the target of a probe is its pair's index.

        Args:
            answers: clean embeddings [D] by key.

        Raises:
            InputError: an embedding is not finite or all zeros.
            DataError: there is no such pair.
        """
        for key, answer in answers.items():
            check_answer(np.asarray(answer), key)
        self._clean = answers
        read = np.array([record.key in answers for record in self._records])
        found = np.asarray(read[self._pairs.places].all(1))
        if not found.any():
            raise DataError(f"attack: none of the {len(found)} pairs has two readable images", [])
        self._pairs, self._missing = self._pairs.only(found), int((~found).sum())
        probes = [self._records[place] for place in self._pairs.places[:, 0]]
        return replace(self.pictures, records=tuple(Record(self._key(n), probe.source, n) for n, probe in enumerate(probes)))

    def loss(self, answers: Tensor, targets: Sequence[Any]) -> Tensor:
        """Return the loss [B] that the attacker maximises: the embeddings' similarity to the gallery image, negated for genuine pairs."""
        numbers = np.array(targets, np.int64)
        gallery = torch.from_numpy(self._rows(self._pairs.places[numbers, 1])).to(answers)
        similar = F.cosine_similarity(answers, gallery) if self._score == "cosine" else -(answers - gallery).norm(dim=1)
        return torch.where(torch.from_numpy(self._pairs.same[numbers]).to(answers.device), -similar, similar)

    def score(self, robust: Mapping[str, Any], replicates: int) -> dict[str, MetricResult]:
        """Score the clean and the attacked embeddings [D] by the thresholds of the clean pairs.

        Without enough people to choose thresholds on, the scores that need one are None.
        """
        for key, answer in robust.items():
            check_answer(np.asarray(answer), key)
        probes, gallery = (self._rows(self._pairs.places[:, side]) for side in (0, 1))
        attacked = np.array([robust[self._key(number)] for number in range(len(self._pairs))], np.float32)
        similar = {"clean": self._similar(probes, gallery), "robust": self._similar(attacked, gallery)}
        thresholds = self._pairs.thresholds(similar["clean"])
        return {name: self._result(values, thresholds, replicates) for name, values in similar.items()}

    def _result(self, similar: Floats, thresholds: Floats | None, replicates: int) -> MetricResult:
        known, units, of_pair = self._units()
        scores, drawn = score_pairs(Pairs(similar, self._pairs.same, of_pair[:, 0], of_pair[:, 1]), thresholds, units, replicates)
        genuine = int(self._pairs.same.sum())
        details = {
            "score": self._score,
            "attacked": "the first image of each pair",
            "pairs": {"genuine": genuine, "impostor": len(self._pairs) - genuine, "missing": self._missing},
            "threshold": None if thresholds is None else float(thresholds.mean()),
            "bootstrap": {"over": "identities" if known else "pairs", "replicates": replicates},
        }
        if thresholds is None:
            details["note"] = "too few people, or folds of pairs, to choose thresholds on other people"
        return MetricResult(scores, details=details, replicates=drawn)

    def _units(self) -> tuple[bool, int, Ints]:
        """Return whether identities are known, the number of bootstrap units, and the units of each pair [P, 2]: people, or the pair."""
        targets = [self._records[place].target for place in self._pairs.places.reshape(-1)]
        if any(target is None for target in targets):
            return False, len(self._pairs), np.arange(len(self._pairs))[:, None].repeat(2, 1)
        people, numbers = np.unique([str(target) for target in targets], return_inverse=True)
        return True, len(people), numbers.reshape(-1, 2)

    def _rows(self, places: Ints) -> NDArray[np.float32]:
        """Return the clean embeddings [P, D] of the records at these indices."""
        return np.array([self._clean[self._records[place].key] for place in places], np.float32)

    def _similar(self, probes: NDArray[np.float32], gallery: NDArray[np.float32]) -> Floats:
        rows = protocol.comparable(np.concatenate([probes, gallery]), self._score)
        places = np.arange(len(probes))
        return protocol.similarities(rows, np.stack([places, places + len(probes)], axis=1), self._score)

    def _key(self, number: int) -> str:
        probe, gallery = self._pairs.places[number]
        return f"{self._records[probe].key} → {self._records[gallery].key}"
