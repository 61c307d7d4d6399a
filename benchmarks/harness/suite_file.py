"""TOML files of benchmark suites. Errors name the file, the line, the case and the key."""

from __future__ import annotations

import itertools
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from zoo.benchmarks.harness.limits import parse_duration
from zoo.benchmarks.harness.suite import Case, Suite
from zoo.errors import InputError, UnknownNameError

_SUITES = Path(__file__).parents[1] / "suites"
_BY_HEAD = ("task", "test", "train")
_TABLES = ("options", "recipe", "expect", "matrix")
_LIMITS = ("timeout", "memory_mib")
_SUITE_KEYS = ("description", "case", *_LIMITS)
_CASE_KEYS = (*(key.name for key in fields(Case)), "matrix")
_VARIED = tuple(name for name in _CASE_KEYS if name not in ("name", "scenarios", *_TABLES))  # keys that a matrix can list values for
_VARIED_TABLES = ("options", "recipe")  # tables with entries that a matrix can list values for, as in "recipe.lr"
_KEY = re.compile(r"""(?:\[\s*case\s*\.\s*)?["']?([\w-]+)["']?\s*[].=]""")  # at the start of a line: key = …, key.… = …, [case.key]


def list_suites() -> list[str]:
    """Return the names of the packaged suites."""
    return sorted(path.stem for path in _SUITES.glob("*.toml"))


def read_suite(suite: str | Path) -> Suite:
    """Read a packaged suite by its name, such as "quick", or a suite from a TOML file.

    Paths of datasets in the file are relative to the current directory.

    Raises:
        InputError: the file can't be read, isn't TOML, or contains an invalid key or value.
    """
    path = Path(suite).expanduser()
    if not isinstance(suite, Path) and path.suffix != ".toml" and path.name == suite:
        if suite not in list_suites():
            raise UnknownNameError("suite", suite, list_suites(), f"Known: {', '.join(list_suites())}; or pass a .toml file.")
        path = _SUITES / f"{suite}.toml"
    try:
        text = path.read_text(encoding="utf-8")
        content = tomllib.loads(text)
    except OSError as error:
        raise InputError(f"suite {path} can't be read ({error.strerror}); expected a TOML file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"suite {path}: the file is not valid TOML ({error})") from error
    return _parsed(content, path, *_key_lines(text))


def _key_lines(text: str) -> tuple[dict[str, int], list[dict[str, int]]]:
    """Return the lines of the keys of a suite, and of the keys of each case, "" being the header of the case.

    tomllib doesn't return positions. Keys that aren't at the start of a line are not found.
    """
    suite: dict[str, int] = {}
    cases: list[dict[str, int]] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if re.match(r"\s*\[\[\s*case\s*]]", line):
            cases.append({"": number})
        elif found := _KEY.match(line.strip()):
            (cases[-1] if cases else suite).setdefault(found[1], number)
    return suite, cases


@dataclass(frozen=True)
class _Place:
    """Place in a suite file, for error messages."""

    path: Path
    lines: Mapping[str, int]
    words: str = ""  # number and name of the case

    def at(self, key: str) -> str:
        """Return file, line and case of a key."""
        line = self.lines.get(key, self.lines.get(""))
        return f"suite {self.path}{'' if line is None else f', line {line}'}{self.words}"


def _parsed(content: Mapping[str, Any], path: Path, suite_lines: dict[str, int], case_lines: list[dict[str, int]]) -> Suite:
    place = _Place(path, suite_lines)
    for key in content:
        if key not in _SUITE_KEYS:
            raise UnknownNameError(f"key in the {place.at(key)}:", key, _SUITE_KEYS)
    description = content.get("description", "")
    if not isinstance(description, str):
        raise InputError(f"{place.at('description')}: description is {description!r}; expected a string")
    tables = content.get("case", [])
    if not isinstance(tables, list) or not tables or not all(isinstance(table, dict) for table in tables):
        raise InputError(f"{place.at('case')}: expected at least one [[case]] table")
    limits = {key: _limit(key, content[key], place.at(key)) for key in _LIMITS if key in content}
    cases: list[Case] = []
    lines: dict[str, dict[str, int]] = {}
    for number, table in enumerate(tables, start=1):
        own = case_lines[number - 1] if len(case_lines) == len(tables) else {}
        for varied in _expanded({**limits, **table}, _Place(path, own, _words(number, table))):
            case = _parse_case(varied, _Place(path, own, _words(number, varied)))
            if case.name in lines:
                raise InputError(f"{place.at('')}: several cases are named {case.name}; names must be unique")
            cases.append(case)
            lines[case.name] = own
    return Suite(path.stem, description, tuple(cases), path, lines)


def _words(number: int, table: Mapping[str, Any]) -> str:
    name = table.get("name")
    return f": case {number}" + (f" ({name})" if isinstance(name, str) else "")


def _expanded(table: dict[str, Any], place: _Place) -> Iterator[dict[str, Any]]:
    """Yield the tables of the cases that a case with a matrix stands for: one for each combination of the listed values."""
    matrix = table.pop("matrix", {})
    if not isinstance(matrix, dict):
        raise InputError(f"{place.at('matrix')}: matrix is {matrix!r}; expected a table with a list of values for each key")
    for key, values in matrix.items():
        outer, dot, inner = key.partition(".")
        if not (key in _VARIED or (outer in _VARIED_TABLES and dot and inner)):
            known = (*_VARIED, *(f"{name}.<setting>" for name in _VARIED_TABLES))
            raise UnknownNameError(f"key in the matrix of {place.at('matrix')}:", key, known)
        if key in table:
            raise InputError(f"{place.at(key)}: {key} is set, and also varied by the matrix; remove one of them")
        if not isinstance(values, list) or not values:
            raise InputError(f"{place.at('matrix')}: matrix.{key} is {values!r}; expected a list of values")
    for combination in itertools.product(*matrix.values()):
        yield _varied(table, dict(zip(matrix, combination, strict=True)))


def _varied(table: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the table of a case with other values. The name becomes NAME/VALUE/SETTING=VALUE@SEED."""
    varied, parts = dict(table), [str(table.get("name", ""))]
    for key, value in values.items():
        outer, _, inner = key.partition(".")
        if inner:
            varied[outer] = {**varied.get(outer, {}), inner: value}
            parts.append(f"{inner}={value}")
        else:
            varied[key] = value
            parts += [] if key == "seed" else [str(value)]
    if values and isinstance(table.get("name"), str):
        varied["name"] = "/".join(parts) + (f"@{values['seed']}" if "seed" in values else "")
    return varied


def _parse_case(table: Mapping[str, Any], place: _Place) -> Case:
    for key, value in table.items():
        if key not in _CASE_KEYS:
            raise UnknownNameError(f"key in {place.at(key)}:", key, _CASE_KEYS)
        _check_value(key, value, place.at(key))
    heads = table["task"] if isinstance(table.get("task"), dict) else None
    for key in ("test", "train"):
        value = table.get(key)
        if value is not None and (heads is not None) != isinstance(value, dict):
            expected = f"a table with a dataset for each of the heads {', '.join(heads)}" if heads else "a string, like task"
            raise InputError(f"{place.at(key)}: {key} is {value!r}; expected {expected}")
        for name in value if isinstance(value, dict) else ():
            if name not in (heads or ()):
                raise UnknownNameError(f"head in {key} of {place.at(key)}:", name, heads or ())
    missing = [key for key in ("name", "task", "backbone", "test") if key not in table]
    if missing:
        raise InputError(f"{place.at('')}: {', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing")
    if table.get("train") is None and table.get("recipe"):
        raise InputError(f"{place.at('recipe')}: recipe is set but train is missing; set train, or remove recipe")
    return Case(**{**table, **{key: _limit(key, table[key], place.at(key)) for key in _LIMITS if key in table}})


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
        for name, bound in value.items():
            _check_bound(name, bound, where)


def _check_bound(name: str, bound: Any, where: str) -> None:
    entries = bound if isinstance(bound, dict) else {"value": bound}
    for key in entries:
        if key not in ("value", "tolerance"):
            raise UnknownNameError(f"key in expect.{name} of {where}:", key, ("value", "tolerance"))
    if "value" not in entries or any(type(number) not in (int, float) for number in entries.values()):
        raise InputError(f"{where}: expect.{name} is {bound!r}; expected a number, or {{ value = number, tolerance = number }}")
    if not entries.get("tolerance", 0) >= 0:
        raise InputError(f"{where}: expect.{name}.tolerance is {entries['tolerance']}; expected a number, at least 0")
