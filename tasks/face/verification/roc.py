"""The receiver operating characteristic of verification, and the scores read off it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zoo.tasks.face.verification.protocol import Floats, Ints

FALSE_ACCEPT_RATES = {f"tar@1e-{digits}": 10.0**-digits for digits in range(2, 7)}
FALSE_ACCEPTS = 10  # a rate that rests on fewer false accepts is not a measurement


@dataclass(frozen=True)
class OrderedPairs:
    """Pairs from the most to the least alike.

    Attributes:
        order: [P] positions in the scores that were given.
        genuine: [P] whether each shows one person, in that order.
        last_of_equal: [G] the last position of each group of equal scores: these are accepted together.
    """

    order: Ints
    genuine: NDArray[np.bool_]
    last_of_equal: Ints

    @classmethod
    def of(cls, scores: Floats, genuine: NDArray[np.bool_]) -> OrderedPairs:
        """Order pairs by their scores [P]."""
        order = np.argsort(-scores, kind="stable")
        last_of_equal = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
        return cls(order, genuine[order], last_of_equal)


@dataclass(frozen=True)
class Roc:
    """Receiver operating characteristic: one point per distinct score, from "accept nobody" to "accept all".

    Attributes:
        far: false accept rates, ascending from 0 to 1.
        tar: true accept rates, ascending from 0 to 1.
        impostors: the number of impostor pairs behind the rates.
    """

    far: Floats
    tar: Floats
    impostors: int

    @classmethod
    def of(cls, genuine: Floats, impostor: Floats) -> Roc:
        """Build the curve from the scores of at least one pair of each kind; equal scores are accepted together."""
        pairs = OrderedPairs.of(np.concatenate([genuine, impostor]), np.arange(len(genuine) + len(impostor)) < len(genuine))
        accepted_genuine = np.cumsum(pairs.genuine)[pairs.last_of_equal]
        accepted = pairs.last_of_equal + 1
        tar = np.append(0.0, accepted_genuine / len(genuine))
        far = np.append(0.0, (accepted - accepted_genuine) / len(impostor))
        return cls(far, tar, len(impostor))

    @classmethod
    def weighted(cls, ordered: OrderedPairs, weights: Floats) -> Roc | None:
        """Build the curve from pairs that count more or less than once; None where no pair of a kind is left.

        Args:
            ordered: the pairs.
            weights: [P], in their order.
        """
        genuine, all_pairs = np.cumsum(weights * ordered.genuine)[ordered.last_of_equal], np.cumsum(weights)[ordered.last_of_equal]
        impostor = all_pairs - genuine
        if not genuine[-1] > 0 or not impostor[-1] > 0:
            return None
        impostors = len(ordered.genuine) - int(ordered.genuine.sum())
        return cls(np.append(0.0, impostor / impostor[-1]), np.append(0.0, genuine / genuine[-1]), impostors)

    @property
    def auc(self) -> float:
        """Area under the curve: the chance that a genuine pair scores above an impostor pair, equal scores counting half."""
        return float(np.trapezoid(self.tar, self.far))

    @property
    def eer(self) -> float:
        """Equal error rate: where false accepts and false rejects are as frequent, linear between two points."""
        excess = self.far - (1 - self.tar)  # rises from −1 to 1
        after = int(np.argmax(excess >= 0))
        part = -excess[after - 1] / (excess[after] - excess[after - 1])
        return float(self.far[after - 1] + part * (self.far[after] - self.far[after - 1]))

    def tar_at(self, far: float) -> float | None:
        """Return the highest true accept rate whose false accept rate is at most `far`.

        None with fewer than 10 / far impostor pairs: the rate would rest on fewer than ten false accepts.
        """
        if self.impostors < FALSE_ACCEPTS / far:
            return None
        return float(self.tar[np.searchsorted(self.far, far, side="right") - 1])


def roc_scores(genuine: Floats, impostor: Floats) -> dict[str, float | None]:
    """Return AUC, EER and TAR@FAR of the scores of pairs; None without pairs of both kinds."""
    if not len(genuine) or not len(impostor):
        return {"auc": None, "eer": None, **dict.fromkeys(FALSE_ACCEPT_RATES)}
    return read_off(Roc.of(genuine, impostor))


def read_off(roc: Roc) -> dict[str, float | None]:
    """Return AUC, EER and TAR@FAR of a curve."""
    return {"auc": roc.auc, "eer": roc.eer, **{name: roc.tar_at(far) for name, far in FALSE_ACCEPT_RATES.items()}}


def unsupported(impostors: int) -> dict[str, str]:
    """Return the scores that so many impostor pairs don't support, and why."""
    return {
        name: f"not supported: needs {round(FALSE_ACCEPTS / far)} impostor pairs, there are {impostors}"
        for name, far in FALSE_ACCEPT_RATES.items()
        if impostors < FALSE_ACCEPTS / far
    }
