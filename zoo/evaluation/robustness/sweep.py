"""Evaluation of a model on corrupted images: scores by corruption and severity, their mean, and the relative drop."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.data.dataset import Dataset, OnError
from zoo.errors import InputError
from zoo.evaluation.evaluate import evaluate
from zoo.evaluation.heads import per_head
from zoo.evaluation.intervals import intervals
from zoo.evaluation.robustness.corruptions import check_severity, corrupted
from zoo.evaluation.robustness.kinds import CORRUPTIONS, SEVERITIES
from zoo.models.model import Model
from zoo.system.progress import Part, Progress
from zoo.task.metric import Scores

NOTE = (
    "common corruptions after Hendrycks & Dietterich 2019, generated from these images with this seed: "
    "scores are comparable between models evaluated in this way, not with published scores on ImageNet-C, CIFAR-10-C or COCO-C"
)


@per_head  # type: ignore[arg-type]  # mypy expects that `options` might contain `model` or `data`
def evaluate_corruptions(
    model: Model,
    data: object,
    *,
    names: Sequence[str] | None = None,
    severities: Sequence[int] = SEVERITIES,
    seed: int = 0,
    on_error: OnError = "raise",
    progress: Progress | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Score a model on clean and corrupted images with its task's primary score.

    Args:
        model: the model.
        data: dataset, as in `zoo.evaluate`; for several heads, a mapping from head name. The result is then a dict from head name.
        names: names of the corruptions; None for all fifteen.
        severities: integers from 1 to 5.
        seed: random seed of the corruptions.
        on_error: "raise", or "skip" to skip samples that can't be read.
        progress: display of messages and of one progress bar for all evaluations; None for no display.
        **options: further options of `zoo.evaluate`, used for every evaluation.

    Returns:
        A JSON-serialisable dict with the entries `score` (name of the score), `clean` (score on clean images), `mean` (mean score over
        all corruptions and severities), `relative_drop` ((clean - mean) / clean; None if clean is 0), `intervals` (95 % confidence
        intervals of the last three, with the same bootstrap draws in every evaluation), `corruptions` (scores by corruption and
        severity), `by_corruption` (mean scores by corruption), and a description of the evaluation. A mean is None if any of its scores
        is None.

    Raises:
        UnknownNameError: a corruption is unknown.
        InputError: a severity, the dataset or an option is invalid, a list is empty, or a name or severity is duplicated.
        DataError: all samples were skipped.
    """
    chosen, levels = _chosen(names, severities)
    progress = progress or Progress(enabled=False)
    task, start = model.definition, time.perf_counter()
    opened, score = task.open(data, on_error, progress.say), task.scoring.primary_score

    def run(dataset: Dataset, note: str) -> Scores:
        return evaluate(model, dataset, on_error=on_error, progress=Part(progress, note), **options)

    progress.begin("evaluating", 1 + len(chosen) * len(levels))
    clean = run(opened, "clean")
    progress.say(f"clean: {score} {_shown(clean[score])}")
    found: dict[str, dict[int, Scores]] = {}
    for name in chosen:
        found[name] = {level: run(corrupted(opened, name, level, seed=seed), f"{name} {level}") for level in levels}
        progress.say(f"{name}: {score} {', '.join(_shown(scores[score]) for scores in found[name].values())}")
    return {
        "score": score,
        **_summary(score, clean, [scores for runs in found.values() for scores in runs.values()]),
        "corruptions": {name: {str(level): scores[score] for level, scores in runs.items()} for name, runs in found.items()},
        "by_corruption": {name: _mean([scores[score] for scores in runs.values()]) for name, runs in found.items()},
        "seed": seed,
        "n": clean.n,
        "expected": clean.expected,
        "skipped": [fault.to_dict() for fault in clean.skipped],
        "data": clean.data,
        "preprocess": dict(clean.preprocess),
        "precision": clean.precision,
        "seconds": round(time.perf_counter() - start, 3),
        "fingerprints": dict(clean.fingerprints),
        **({"hub": clean.to_dict()["hub"]} if clean.hub else {}),
        "versions": dict(clean.versions),
        "note": NOTE,
    }


def _chosen(names: Sequence[str] | None, severities: Sequence[int]) -> tuple[list[str], list[int]]:
    chosen, levels = list(CORRUPTIONS) if names is None else list(names), list(severities)
    for name in chosen:
        CORRUPTIONS[name]  # raises an error for an unknown name before anything is evaluated
    for level in levels:
        check_severity(level)
    for kind, values in (("names", chosen), ("severities", levels)):
        if not values or len(set(values)) < len(values):
            raise InputError(f"corruptions: {kind} is {values}; expected one or more values, each once")
    return chosen, levels


def _summary(score: str, clean: Scores, runs: Sequence[Scores]) -> Mapping[str, Any]:
    """Return the clean score, the mean score on corrupted images and the relative drop, with confidence intervals."""
    first, mean = clean[score], _mean([scores[score] for scores in runs])
    values = {"clean": first, "mean": mean, "relative_drop": None if not first or mean is None else (first - mean) / first}
    return {**values, "intervals": {name: list(bounds) for name, bounds in _intervals(score, clean, runs, values).items()}}


def _intervals(score: str, clean: Scores, runs: Sequence[Scores], values: Mapping[str, float | None]) -> dict[str, tuple[float, float]]:
    """Return the confidence intervals. All evaluations share the same draws, so all three values are computed for each draw."""
    if not all(score in scores.replicates for scores in (clean, *runs)):
        return {}
    draws: NDArray[np.float64] = np.mean([scores.replicates[score] for scores in runs], axis=0)
    first = clean.replicates[score]
    drops = np.divide(first - draws, first, out=np.full_like(first, np.nan), where=first > 0)
    return intervals({"clean": first, "mean": draws, "relative_drop": drops}, values)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if len(known) == len(values) else None


def _shown(value: float | None) -> str:
    return "none" if value is None else f"{value:.3f}"
