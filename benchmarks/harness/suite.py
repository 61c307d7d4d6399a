"""Benchmark suites: lists of cases, read from TOML files."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from zoo.benchmarks.harness.limits import parse_duration
from zoo.errors import InputError, UnknownNameError

_SUITES = Path(__file__).parents[1] / "suites"
_BY_HEAD = ("task", "test", "train")
_TABLES = ("options", "recipe", "expect")
_LIMITS = ("timeout", "memory_mib")
_SUITE_KEYS = ("description", "case", *_LIMITS)


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
    expect: Mapping[str, float] = field(default_factory=dict)  # expected minimum of each score, by name; a lower score is a regression
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
        return Suite(self.name, self.description, tuple(case for case in self.cases if case.name in names))

    def matching(self, patterns: Sequence[str]) -> Suite:
        """Return the suite with only the cases whose names match a pattern such as "digits*". No patterns keep all cases."""
        known = [case.name for case in self.cases]
        for pattern in patterns:
            if not any(fnmatchcase(name, pattern) for name in known):
                raise UnknownNameError(f"case of the suite {self.name}:", pattern, known)
        kept = tuple(case for case in self.cases if not patterns or any(fnmatchcase(case.name, pattern) for pattern in patterns))
        return Suite(self.name, self.description, kept)

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
        return Suite(self.name, self.description, tuple(cases))


def list_suites() -> list[str]:
    """Return the names of the packaged suites."""
    return sorted(path.stem for path in _SUITES.glob("*.toml"))


def read_suite(suite: str | Path) -> Suite:
    """Read a packaged suite by its name, such as "quick", or a suite from a TOML file.

    Paths of datasets in the file are relative to the current directory.
    """
    path = Path(suite).expanduser()
    if not isinstance(suite, Path) and path.suffix != ".toml" and path.name == suite:
        if suite not in list_suites():
            raise UnknownNameError("suite", suite, list_suites(), f"Known: {', '.join(list_suites())}; or pass a .toml file.")
        path = _SUITES / f"{suite}.toml"
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"suite {path} can't be read ({error.strerror}); expected a TOML file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"suite {path}: the file is not valid TOML ({error})") from error
    return parse_suite(content, path)


def parse_suite(content: Mapping[str, Any], path: Path) -> Suite:
    """Create a suite from the content of a TOML file. Error messages name the file, the case and the key."""
    for key in content:
        if key not in _SUITE_KEYS:
            raise UnknownNameError(f"key in the suite {path}:", key, _SUITE_KEYS)
    description = content.get("description", "")
    if not isinstance(description, str):
        raise InputError(f"suite {path}: description is {description!r}; expected a string")
    tables = content.get("case", [])
    if not isinstance(tables, list) or not tables or not all(isinstance(table, dict) for table in tables):
        raise InputError(f"suite {path}: expected at least one [[case]] table")
    limits = {key: _limit(key, content[key], f"suite {path}") for key in _LIMITS if key in content}
    cases = tuple(_parse_case({**limits, **table}, f"suite {path}: case {number}") for number, table in enumerate(tables, start=1))
    names = [case.name for case in cases]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise InputError(f"suite {path}: several cases are named {', '.join(repeated)}; names must be unique")
    return Suite(path.stem, description, cases)


def _parse_case(table: Mapping[str, Any], where: str) -> Case:
    name = table.get("name")
    where += f" ({name})" if isinstance(name, str) else ""
    known = [key.name for key in fields(Case)]
    for key, value in table.items():
        if key not in known:
            raise UnknownNameError(f"key in {where}:", key, known)
        _check_value(key, value, where)
    heads = table["task"] if isinstance(table.get("task"), dict) else None
    for key in ("test", "train"):
        value = table.get(key)
        if value is not None and (heads is not None) != isinstance(value, dict):
            expected = f"a table with a dataset for each of the heads {', '.join(heads)}" if heads else "a string, like task"
            raise InputError(f"{where}: {key} is {value!r}; expected {expected}")
        for name in value if isinstance(value, dict) else ():
            if name not in (heads or ()):
                raise UnknownNameError(f"head in {key} of {where}:", name, heads or ())
    missing = [key for key in ("name", "task", "backbone", "test") if key not in table]
    if missing:
        raise InputError(f"{where}: {', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing")
    if table.get("train") is None and table.get("recipe"):
        raise InputError(f"{where}: recipe is set but train is missing; set train, or remove recipe")
    return Case(**{**table, **{key: _limit(key, table[key], where) for key in _LIMITS if key in table}})


def _limit(key: str, value: Any, where: str) -> float:
    if key == "timeout" and isinstance(value, str | int | float):
        return parse_duration(value, f"{where}: timeout")
    if type(value) not in (int, float) or not value > 0:
        expected = "a duration in seconds, or as text" if key == "timeout" else "a number of MiB above 0"
        raise InputError(f"{where}: {key} is {value!r}; expected {expected}")
    return float(value)


_Check = tuple[Callable[[Any], bool], str]
# type(…) is int, because a bool is also an instance of int, but not allowed
_STRING: _Check = (lambda value: isinstance(value, str) and bool(value), "a string")
_TABLE: _Check = (lambda value: isinstance(value, dict), "a table")
_HEADS: _Check = (lambda value: bool(value) and all(isinstance(each, str) and each for each in value.values()), "a string for each head")
_CHECKS: dict[str, _Check] = {
    "seed": (lambda value: type(value) is int and value >= 0, "a whole number, at least 0"),
    "batch_size": (lambda value: type(value) is int and value > 0, "a whole number above 0"),
    "scenarios": (lambda value: isinstance(value, list) and all(isinstance(each, str) for each in value), "a list of strings"),
    "server_bound_ms": (lambda value: type(value) in (int, float) and value > 0, "a number above 0"),
    **dict.fromkeys(_TABLES, _TABLE),
}


def _check_value(key: str, value: Any, where: str) -> None:
    if key in _LIMITS:
        return
    right, expected = _HEADS if key in _BY_HEAD and isinstance(value, dict) else _CHECKS.get(key, _STRING)
    if not right(value):
        raise InputError(f"{where}: {key} is {value!r}; expected {expected}")
    if key == "expect":
        for score, bound in value.items():
            if type(bound) not in (int, float):
                raise InputError(f"{where}: expect.{score} is {bound!r}; expected a number")
