"""How many queries a percentile of latencies needs: the early-stopping rules of MLPerf Inference.

A percentile p holds a bound if at most 1 − p of all possible queries take longer. Of n measured queries, t took longer. The claim is made
with a confidence of 99 %: if the true share were 1 − p, so few slow queries among n would have a probability of at most 1 %. Queries are
regarded as independent. Rules: https://github.com/mlcommons/inference_policies/blob/master/inference_rules.adoc.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

from scipy.special import bdtr, bdtrc

CONFIDENCE = 0.99


@cache
def queries_needed(slow: int, percentile: float) -> int:
    """Return the smallest number of queries among which `slow` slow ones still show that a percentile holds its bound.

    Args:
        slow: number of queries that took longer than the bound.
        percentile: between 0 and 1, such as 0.99.
    """
    least, most = slow + 1, 2 * (slow + 1)
    while not _shown(slow, most, percentile):
        most *= 2
    while least < most:  # the probability falls with the number of queries
        middle = (least + most) // 2
        if _shown(slow, middle, percentile):
            most = middle
        else:
            least = middle + 1
    return least


def _shown(slow: int, queries: int, percentile: float) -> bool:
    return bool(bdtr(slow, queries, 1 - percentile) <= 1 - CONFIDENCE)


def holds(slow: int, queries: int, percentile: float) -> bool | None:
    """Return whether a percentile holds its bound; None if more queries are needed to tell.

    It doesn't hold if so many slow queries would have a probability of at most 1 % although the true share is 1 − `percentile`.
    """
    if queries >= queries_needed(slow, percentile):
        return True
    return False if slow and bdtrc(slow - 1, queries, 1 - percentile) <= 1 - CONFIDENCE else None


def upper_estimate(latencies: Sequence[float], percentile: float) -> float | None:
    """Return a latency that the percentile of all possible queries doesn't exceed, with a confidence of 99 %, as MLPerf's LoadGen does.

    It is the t-th highest latency, for the largest t so that t slow queries are few enough. None if there are too few queries for t = 1:
    64 are needed for the 90th percentile, 662 for the 99th.
    """
    count = len(latencies)
    slow = math.floor(count * (1 - percentile))
    while slow and count < queries_needed(slow, percentile):
        slow -= 1
    return sorted(latencies)[count - slow] if slow else None
