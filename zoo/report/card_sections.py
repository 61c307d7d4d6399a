"""The text of a model card: what a model does, its data, scores, speed, preprocessing, thresholds, limits and licences, in Markdown."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from zoo.images.preprocess import Preprocess
from zoo.models.compiled import Compiled
from zoo.models.fingerprint import model_fingerprint
from zoo.models.model import Model
from zoo.report.card_licence import Terms
from zoo.report.card_results import Result, file_name, published_command, published_data
from zoo.system.wording import counted
from zoo.task.operating import OPERATING_POINT, THRESHOLDS

_SHOWN = 50  # maximum number of classes that are listed
_UNKNOWN = "not recorded"


@dataclass(frozen=True)
class Latency:
    """Measured speed of a model.

    Attributes:
        machine: name of the processor, or of the accelerator.
        threads: number of threads of the processor.
        engine: engine that ran the model.
        precision: numeric precision.
        data: dataset string of the images.
        median_ms: median duration of a call with one image, in milliseconds.
        p95_ms: 95th percentile of these durations.
        runs: number of timed calls.
        batch_size: number of images per call for `images_per_second`.
        images_per_second: images per second in batches.
        torch: version of PyTorch.
    """

    machine: str
    threads: int
    engine: str
    precision: str
    data: str
    median_ms: float
    p95_ms: float
    runs: int
    batch_size: int
    images_per_second: float
    torch: str


@dataclass(frozen=True)
class Facts:
    """What a model card is written from.

    Attributes:
        name: name of the model.
        model: the model.
        results: scores.
        terms: licence of the model; None if it isn't known.
        data_licence: licence of the training data; None if it isn't known.
        latency: measured speed; None if it wasn't measured.
    """

    name: str
    model: Model
    results: Sequence[Result]
    terms: Terms | None
    data_licence: str | None
    latency: Latency | None

    @property
    def training(self) -> Mapping[str, Any]:
        """The training summary; empty for a model that wasn't trained by the zoo."""
        found: Mapping[str, Any] = self.model.metadata.get("training", {})
        return found


def sections(facts: Facts) -> str:
    """Return the text of a model card, without its metadata."""
    parts = {
        f"# {_plain(facts.name)}": _summary(facts),
        "## Use": _use(facts),
        "## Classes": _classes(facts.model),
        "## Data": _data(facts),
        "## Scores": _scores(facts),
        "## Speed": _speed(facts),
        "## Preprocessing": _preprocessing(facts.model),
        "## Thresholds": _thresholds(facts.model),
        "## Limits": _limits(facts),
        "## Licences": _licences(facts),
    }
    found = {title: [*lines] for title, lines in parts.items()}
    return "\n\n".join("\n".join([title, "", *lines]) for title, lines in found.items() if lines)


def _summary(facts: Facts) -> Iterator[str]:
    model = facts.model
    for name, head in model.config.heads.items():
        text = head.definition.answers.purpose(head.classes, head.options, model.head_metadata(name)).text
        yield f"- head {_code(name)}: {_plain(text)}" if model.is_joint else _plain(text)
    yield ""
    count = sum(parameter.numel() for parameter in model.parameters())
    yield f"- Backbone: {_code(model.backbone_name)}; {count / 1e6:.2f} million parameters"
    weights = model.config.weights
    if facts.training:
        yield f"- Trained from {'random parameters' if weights is None else f'the weights {_code(_name(weights))}'}"
    else:
        yield f"- Parameters: {'no origin is recorded' if weights is None else f'the weights {_code(_name(weights))}'}"
    if isinstance(model, Compiled):
        yield f"- Exported for the engine {model.making.engine} in {model.making.precision}. Compared with the original: {model.making}"
    yield f"- Fingerprint: {_code(model_fingerprint(model))}"


def _use(facts: Facts) -> Iterator[str]:
    yield from ("```python", "import zoo", "", f"model = zoo.load({json.dumps(facts.name)})  # the folder with this file")
    yield from ('for prediction in zoo.predict(model, "photo.jpg"):', "    print(prediction.to_dict())", "```")


def _classes(model: Model) -> Iterator[str]:
    for name, head in model.config.heads.items():
        if head.classes:
            label = f"{_code(name)}: " if model.is_joint else ""
            rest = f" and {len(head.classes) - _SHOWN} more (see model.json)" if len(head.classes) > _SHOWN else ""
            yield f"{'- ' if model.is_joint else ''}{label}{', '.join(map(_code, head.classes[:_SHOWN]))}{rest}"


def _data(facts: Facts) -> Iterator[str]:
    rows = [*_training_rows(facts)]
    rows += [(_use_of("scored", each.head), published_data(each.data), each.n, each.fingerprint) for each in facts.results]
    if not rows:
        yield f"Training data: {_UNKNOWN}."
        return
    shown = [(use, _code(data), count, _code(mark) if mark else _UNKNOWN) for use, data, count, mark in rows]
    yield from _table(("use", "data", "images", "fingerprint"), shown)
    yield ""
    yield "Fingerprints of training and validation data cover classes, file names and targets; those of scored data also cover the images."


def _training_rows(facts: Facts) -> Iterator[tuple[str, str, object, str]]:
    summary = facts.training
    for use, prefix in {"training": "", "validation": "val_"}.items():
        data, counts, marks = (_by_heads(summary.get(f"{prefix}{key}")) for key in ("data", "samples", "manifest"))
        for heads, text in data.items():
            mark = ", ".join(dict.fromkeys(marks[name] for name in heads.split(",") if name in marks))
            yield _use_of(use, heads), published_data(str(text)), counts.get(heads, _UNKNOWN), mark


def _by_heads(value: Any) -> Mapping[str, Any]:
    """Return an entry of the training summary by head name; that of a model with one head under the name ""."""
    if value is None:
        return {}
    return value if isinstance(value, Mapping) else {"": value}


def _use_of(use: str, head: str) -> str:
    return f"{use} ({_plain(head)})" if head else use


def _scores(facts: Facts) -> Iterator[str]:
    for each in facts.results:
        yield f"On {_code(published_data(each.data))}" + (f", head {_code(each.head)}" if each.head else "") + ":"
        yield ""
        rows = [(name, f"{value:.4f}", _interval(each.intervals.get(name))) for name, value in each.scores.items()]
        yield from _table(("score", "value", "95 % interval"), rows)
        left = f" of {each.expected}; the others were skipped" if each.n < each.expected else ""
        yield ""
        yield f"{counted(each.n, 'image')}{left}; precision {each.precision}. Printed by:"
        yield ""
        yield from _console(published_command(each.command)) if each.command else [f"command {_UNKNOWN}"]
        yield ""
    validation = facts.training.get("val") or {}
    shown = {name: value for name, value in validation.items() if isinstance(value, int | float)}
    if shown:
        yield "On the validation data, which also determined the epoch that was kept, so that these scores are optimistic:"
        yield ""
        yield from _table(("score", "value"), [(name, f"{value:.4f}") for name, value in shown.items()])
    elif not facts.results:
        yield f"Scores: {_UNKNOWN}."


def _speed(facts: Facts) -> Iterator[str]:
    latency = facts.latency
    if latency is None:
        yield f"{_UNKNOWN.capitalize()}."
        return
    before = "decoded and scaled" if len(facts.model.passes()) == 1 else "decoded"
    yield f"Measured with {latency.engine} in {latency.precision} on {_plain(latency.machine)}, {counted(latency.threads, 'thread')},"
    yield f"PyTorch {latency.torch}, images of {_code(published_data(latency.data))} that were {before} in advance:"
    yield ""
    yield f"- one image: median {latency.median_ms:.1f} ms, 95th percentile {latency.p95_ms:.1f} ms, {counted(latency.runs, 'call')}"
    yield f"- batches of {latency.batch_size}: {latency.images_per_second:.0f} images per second"


def _preprocessing(model: Model) -> Iterator[str]:
    for way in model.passes():
        text = _in_words(way.preprocess)
        yield f"- {', '.join(map(_code, way.heads))}: {text}" if model.is_joint else text
    yield ""
    yield "`zoo.predict` does this itself. Images are RGB, and normalisation is part of the model."


def _in_words(preprocess: Preprocess) -> str:
    height, width = preprocess.size_hw
    policy = {
        "crop": f"the shorter side is scaled to {preprocess.short_side} pixels, and the centre of {height} × {width} pixels is cropped",
        "squash": f"both sides are scaled, to {height} × {width} pixels",
        "fit": f"the shorter side is scaled to {height} pixels, or the longer side to {width}, whichever is reached first",
        "given": "the model scales images itself",
    }[preprocess.policy]
    way = f"{preprocess.interpolation} interpolation, {'with' if preprocess.antialias else 'without'} antialiasing"
    mean, std = (", ".join(f"{value:g}" for value in values) for values in (preprocess.mean, preprocess.std))
    aligned = f"; before, faces are aligned to the template {preprocess.alignment}" if preprocess.alignment else ""
    return f"Size: {policy} ({way}){aligned}. Mean {mean}; standard deviation {std}."


def _thresholds(model: Model) -> Iterator[str]:
    for name, head in model.config.heads.items():
        own = model.head_metadata(name)
        stored = own.get(THRESHOLDS)
        found = {each: float(value) for each, value in stored.items()} if isinstance(stored, Mapping) else {}
        if not found and own.get("threshold") is not None:
            found = {f"{own.get('distance', 'cosine')} distance": float(own["threshold"])}
        if not found:
            continue
        if model.is_joint:
            yield from (f"Head {_code(name)}:", "")
        named = "class" if all(each in head.classes for each in found) else "use"
        rows = [(_code(each), f"{value:.4g}") for each, value in found.items()][:_SHOWN]
        yield from _table((named, "threshold"), rows)
        if len(found) > _SHOWN:
            yield from ("", f"{len(found) - _SHOWN} more are in model.json.")
        point = own.get(OPERATING_POINT)
        if point:
            yield ""
            yield (
                f"Chosen by `zoo tune` for {_code(point['target'])} on {_code(published_data(point['data']))} "
                f"({counted(point['n'], 'image')}, fingerprint {_code(point['fingerprint'])})."
            )
        yield ""


def _limits(facts: Facts) -> Iterator[str]:
    model = facts.model
    for name, head in model.config.heads.items():
        label = f"{_code(name)}: " if model.is_joint else ""
        for limit in head.definition.answers.purpose(head.classes, head.options, model.head_metadata(name)).limits:
            yield f"- {label}{_plain(limit)}"
    counts = _by_heads(facts.training.get("samples"))
    if counts:
        yield f"- It was trained on {' and '.join(map(str, counts.values()))} images; accuracy on images unlike these is unknown."
    elif model.config.weights is None:
        yield "- No training is recorded; the parameters may be random."
    if not facts.results:
        yield "- No scores on test data are recorded. Add them with `zoo card --scores`."
    for each in model.config.licences:
        if each.research_only:
            yield f"- Non-commercial research only, because it inherits the weights {_code(_name(each.weights))}."


def _licences(facts: Facts) -> Iterator[str]:
    yield f"- Model: {_terms(facts.terms)}"
    yield f"- Training data: {_plain(facts.data_licence) if facts.data_licence is not None else _UNKNOWN}"
    inherited = facts.model.config.licences
    if inherited:
        yield from ("", "Weights that the model inherits:", "")
        rows = [(_code(_name(each.weights)), _plain(each.licence), _linked(each.source), _plain(each.note)) for each in inherited]
        yield from _table(("weights", "licence", "source", "note"), rows)


def _terms(terms: Terms | None) -> str:
    if terms is None:
        return "not stated"
    return terms.identifier if terms.name is None else f"{_plain(terms.name)}, {_linked(terms.link or '')}"


def _interval(bounds: Sequence[float] | None) -> str:
    return "" if bounds is None else f"{bounds[0]:.4f} – {bounds[1]:.4f}"


def _name(weights: str) -> str:
    """Return the name of weights, or the file name if they are a path on this machine."""
    return weights if weights.startswith("hf:") else file_name(weights)


def _table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    yield f"| {' | '.join(header)} |"
    yield f"|{'---|' * len(header)}"
    for row in rows:
        yield f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in row)} |"


def _console(command: str) -> Iterator[str]:
    yield from ("```console", f"$ {_line(command).replace('```', '` ` `')}", "```")


def _code(text: str) -> str:
    """Return text from the user as code, in which Markdown and HTML have no meaning."""
    shown = _line(text)
    ticks = "`" * (1 + max((len(run) for run in re.findall("`+", shown)), default=0))
    space = " " if "`" in shown else ""
    return f"{ticks}{space}{shown}{space}{ticks}" if shown else "(empty)"


def _plain(text: str) -> str:
    """Return text without meaning in Markdown and HTML."""
    return re.sub(r"([\\`*_\[\]<>#])", r"\\\1", _line(text))


def _linked(text: str) -> str:
    """Return a URL, which Markdown recognises, unchanged, and other text as `_plain` does."""
    return text if re.fullmatch(r"https?://[\w./~%?=&+:-]+", text) else _plain(text)


def _line(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()
