"""Benchmark suites: lists of cases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from zoo.errors import InputError, UnknownNameError

ByHead = str | Mapping[str, str]  # a value, or for a model with several heads, the value of each head by name


@dataclass(frozen=True)
class Case:
    """Benchmark case: a task and a backbone, optionally trained on one dataset, and evaluated on another."""

    name: str  # unique in its suite
    task: ByHead  # task name, one of `zoo.list_tasks()`
    backbone: str  # backbone name, one of `zoo.list_backbones()`
    test: ByHead  # dataset string of the evaluation data, which is also used for timing
    train: ByHead | None = None  # dataset string of the training data; None to evaluate the weights without training
    weights: str | None = None  # initial weights, as in `zoo.build`; None for random weights
    options: Mapping[str, Any] = field(default_factory=dict)  # task options, as in `zoo.build`
    recipe: Mapping[str, Any] = field(default_factory=dict)  # settings of the training recipe by name; the others have the task's defaults
    engine: str = "eager"  # engine for evaluation and timing, as in `zoo.compile`; "eager" runs the model without compiling it
    precision: str = "auto"  # precision of the engine, as in `zoo.compile`
    calibration: str | None = None  # dataset string for the engine's agreement check and int8 calibration; None for built-in images
    batch_size: int = 16  # images per call in the measurement of throughput
    scenarios: Sequence[str] = field(default_factory=list)  # scenarios of MLPerf Inference to measure as well, such as "offline"
    server_bound_ms: float | None = None  # bound on the 99th percentile of the latency in the scenario server, in milliseconds
    # expected minimum of each score, or bound of another figure, by name: a number, or {"value": number, "tolerance": number}
    expect: Mapping[str, Any] = field(default_factory=dict)
    seed: int | None = None  # seed of the initial parameters and of training; None for that of the recipe
    timeout: float | None = None  # time limit in seconds; None for no limit
    memory_mib: float | None = None  # limit of the resident memory of the case's processes in MiB; None for no limit


def in_words(values: ByHead) -> str:
    """Return a value, or the values of several heads as "name=value, name=value"."""
    return values if isinstance(values, str) else ", ".join(f"{name}={value}" for name, value in values.items())


@dataclass(frozen=True)
class Suite:
    """Benchmark suite: cases that are run and reported together."""

    name: str  # name of the TOML file without its suffix
    description: str  # purpose of the suite, in one sentence
    cases: tuple[Case, ...]  # the cases in the order of the file
    path: Path | None = None  # the TOML file
    lines: Mapping[str, Mapping[str, int]] = field(default_factory=dict)  # line of each key in the file, by name of the case

    def place(self, case: str, key: str) -> str:
        """Return a description of the place in the file that defines a key of a case, for messages."""
        lines = self.lines.get(case) or self.lines.get(case.rpartition("@")[0], {})
        line = lines.get(key, lines.get(""))
        return f"suite {self.path or self.name}{'' if line is None else f', line {line}'}: case {case}"

    def pick(self, names: Sequence[str] | None) -> Suite:
        """Return the suite with only the named cases, in the order of the file. None keeps all cases."""
        if names is None:
            return self
        known = [case.name for case in self.cases]
        for name in names:
            if name not in known:
                raise UnknownNameError(f"case of the suite {self.name}:", name, known)
        if not names:
            raise InputError(f"suite {self.name}: no cases given; choose from: {', '.join(known)}")
        return replace(self, cases=tuple(case for case in self.cases if case.name in names))

    def matching(self, patterns: Sequence[str]) -> Suite:
        """Return the suite with only the cases whose names, with or without the seed, match a pattern such as "digits*".

        No patterns keep all cases.
        """
        known = [case.name for case in self.cases]
        for pattern in patterns:
            if not any(_matches(case, pattern) for case in self.cases):
                raise UnknownNameError(f"case of the suite {self.name}:", pattern, known)
        kept = tuple(case for case in self.cases if not patterns or any(_matches(case, pattern) for pattern in patterns))
        return replace(self, cases=kept)

    def with_seeds(self, count: int) -> Suite:
        """Return the suite with `count` runs of each case, named NAME@SEED. The runs of one seed follow each other.

        The seeds start with that of the case or its recipe, which is 0 by default.
        """
        if count < 1:
            raise InputError(f"seeds is {count}; expected a whole number above 0")
        firsts = [case.seed if case.seed is not None else int(case.recipe.get("seed", 0)) for case in self.cases]
        cases = [
            replace(case, name=f"{case.name}@{first + offset}", seed=first + offset)
            for offset in range(count)
            for case, first in zip(self.cases, firsts, strict=True)
        ]
        return replace(self, cases=tuple(cases))


def _matches(case: Case, pattern: str) -> bool:
    return fnmatchcase(case.name, pattern) or fnmatchcase(case.name.removesuffix(f"@{case.seed}"), pattern)
