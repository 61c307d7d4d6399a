"""Scores in a model card: read from the output of `zoo eval --json`, with the data in the form in which it may be published."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zoo.data.formats import DataRef
from zoo.errors import InputError
from zoo.models.fingerprint import model_fingerprint
from zoo.models.model import Model
from zoo.system.wording import look_at
from zoo.task.metric import Scores

Source = str | Path | Scores | Mapping[str, Any]

_ABSOLUTE = re.compile(r"[/~]|[A-Za-z]:[/\\]")  # start of a path on this machine
_HOW = "pass the output of: zoo eval MODEL --data DATA --json"


@dataclass(frozen=True)
class Result:
    """Scores of one head on one dataset.

    Attributes:
        head: name of the head; "" for a model with one head.
        scores: values by score name, without undefined ones.
        intervals: 95 % confidence intervals by score name.
        n: number of scored samples; `expected` is the number in the dataset.
        expected: number of samples in the dataset.
        data: the dataset string.
        fingerprint: fingerprint of the dataset; "" if unknown.
        precision: numeric precision, and the engine of a compiled model.
        command: command that printed the scores; "" if unknown.
    """

    head: str
    scores: Mapping[str, float]
    intervals: Mapping[str, Sequence[float]] = field(default_factory=dict)
    n: int = 0
    expected: int = 0
    data: str = ""
    fingerprint: str = ""
    precision: str = ""
    command: str = ""


def read_results(source: Source, model: Model) -> list[Result]:
    """Read scores, which must be those of a model alone.

    Args:
        source: file with the output of `zoo eval --json`, its content, or the result of `zoo.evaluate`.
        model: the model that was scored.

    Raises:
        InputError: the file can't be read, has other content, or contains scores of another model.
    """
    where = f"--scores {source}" if isinstance(source, str | Path) else "scores"
    content = _content(source, where)
    heads = content if model.is_joint and isinstance(content, dict) else {"": content}
    if unknown := [name for name in heads if name and name not in model.config.heads]:
        known = ", ".join(model.config.heads)
        raise InputError(f"{where}: the model has no head {unknown[0]!r}; expected the scores of: {known}; {_HOW}")
    return [_result(where, name, own, model.view(name) if name else model) for name, own in heads.items()]


def _content(source: Source, where: str) -> Any:
    if isinstance(source, Scores):
        return source.to_dict()
    if isinstance(source, Mapping):
        return {name: own.to_dict() if isinstance(own, Scores) else own for name, own in source.items()}
    path = Path(source).expanduser()
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{where} can't be read: {error.strerror}. {look_at(path)}") from error
    except ValueError as error:  # neither UTF-8 nor JSON
        raise InputError(f"{where} is not a JSON file ({error}); {_HOW}") from error


def _result(where: str, head: str, content: Any, model: Model) -> Result:
    where = f"{where}, head {head}" if head else where
    try:
        fingerprints = content["fingerprints"]
        result = Result(
            head,
            {str(name): float(value) for name, value in content["scores"].items() if value is not None},
            {str(name): (float(low), float(high)) for name, (low, high) in content["intervals"].items()},
            int(content["n"]),
            int(content["expected"]),
            str(content["data"]),
            str(fingerprints["data"]),
            _computation(content),
            str(content.get("command", "")),
        )
        of = fingerprints.get("model")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{where}: not the scores of a model ({type(error).__name__}: {error}); {_HOW}") from error
    if of is None:
        raise InputError(f"{where}: scores of a file of predictions or of several models; {_HOW}")
    if of != model_fingerprint(model):
        raise InputError(f"{where}: scores of another model, or with other options; evaluate this model again: {_HOW}")
    return result


def _computation(content: Any) -> str:
    engine = content.get("details", {}).get("engine")
    return f"{content['precision']}, engine {engine['engine']}" if engine else str(content["precision"])


def published_data(text: str) -> str:
    """Return a dataset string without the folders in which the data lies on this machine, such as voc:cells?split=test.

    Example:
        >>> published_data("voc:/home/ann/cells?split=test"), published_data("12 samples")
        ('voc:cells?split=test', '12 samples')
    """
    try:
        ref = DataRef.parse(text)
    except InputError:
        return text
    if hub_dataset(text):
        return text
    scheme, query = f"{ref.scheme}:" if ref.scheme else "", text.partition("?")[2]
    parts = (part.partition("=") for part in query.split("&") if part)
    options = "&".join(f"{name}={file_name(value) if _ABSOLUTE.match(value) else value}" for name, _, value in parts)
    return f"{scheme}{file_name(ref.path)}?{options}" if options else f"{scheme}{file_name(ref.path)}"


def file_name(path: str) -> str:
    """Return the last part of a path, of any system."""
    return re.split(r"[/\\]", path.rstrip("/\\"))[-1]


def hub_dataset(text: str) -> str:
    """Return the name OWNER/NAME of a dataset on the Hub; "" for other data."""
    body = text.partition("?")[0]
    scheme, _, name = body.partition(":")
    return name if scheme == "hf" and re.fullmatch(r"[\w.-]+/[\w.-]+", name) and not Path(name).exists() else ""


def published_command(text: str) -> str:
    """Return a command with ~ in place of the user's home folder."""
    home = str(Path.home())
    return text if home == "/" else re.sub(rf"{re.escape(home)}(?=/|\s|$)", "~", text)
