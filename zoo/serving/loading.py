"""Load the models of a worker process, compile them if requested, and check each of them with a picture."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from zoo.artefacts import identities
from zoo.artefacts.hub.reference import is_reference
from zoo.artefacts.hub.snapshot import fetch
from zoo.artefacts.identities import Keys
from zoo.artefacts.trust import policy, throughout
from zoo.compilation.compile import compile
from zoo.errors import ImageError, InputError
from zoo.models.archive import load, save
from zoo.models.model import Model
from zoo.prediction.session import Session
from zoo.serving.services import Service, service_class
from zoo.serving.tensors import described_outputs
from zoo.system.files import write_text
from zoo.system.precision import Precision
from zoo.task.operating import THRESHOLDS


@dataclass(frozen=True)
class Loaded:
    """The models by name, ready to predict, and the services by kind and name."""

    sessions: dict[str, Session]
    services: dict[str, dict[str, tuple[Service, str]]]  # with the name of each service's model


def load_all(spec: dict[str, Any]) -> Loaded:
    """Load all models and services of a worker.

    Args:
        spec: result of `settings.worker_spec`.

    Raises:
        InputError: a model or service can't be loaded, or a model fails its check.
    """
    with throughout(policy(**spec["trust"])), identities.throughout(Keys(**spec["keys"])):
        sessions = {model["name"]: _session(model, spec) for model in spec["models"]}
    services: dict[str, dict[str, tuple[Service, str]]] = {}
    for kind, entries in spec["services"].items():
        create = service_class(spec["service_classes"][kind])
        services[kind] = {entry["name"]: (create(entry["place"], sessions[entry["model"]].model), entry["model"]) for entry in entries}
    return Loaded(sessions, services)


def _session(served: dict[str, Any], spec: dict[str, Any]) -> Session:
    engine = spec["engine"]
    model, precision = _model(served, spec)
    session = Session(
        model,
        batch_size=spec["max_batch"],
        precision=precision,
        **{key: engine[key] for key in ("device", "exact", "max_pixels", "detector", "faces")},
    )
    _check(session, served["folder"])
    return session


def _model(served: dict[str, Any], spec: dict[str, Any]) -> tuple[Model, Precision]:
    """Return a model, compiled if that is requested, and the precision in which to run it.

    The first worker saves a compiled model, so that a worker that replaces another is ready within seconds.
    """
    folder, engine, precision = _place(served, spec), spec["engine"]["engine"], spec["engine"]["precision"]
    if engine == "eager" and precision != "int8":
        return load(folder), cast(Precision, precision)
    kept = Path(spec["prepared"]) / served["name"]
    if (kept / "model.json").is_file():
        return load(kept, trust="off"), "auto"  # saved by another worker, in a folder of the server
    original = load(folder)
    if original.compiled:
        raise InputError(f"{folder} is already exported; it can't be combined with --engine and --precision")
    made = compile(original, engine, precision, data=served["calibration"], tune_seconds=spec["engine"]["tune_seconds"])
    if made.making.engine != "inductor" and not made.encrypted:  # inductor compiles just in time and can't be saved
        save(made, kept)
    return made, "auto"


def _place(served: dict[str, Any], spec: dict[str, Any]) -> str:
    """Return the folder of a model, or its repository of the Hub at the commit that the first worker fetched, so that all have the same."""
    if not is_reference(served["folder"]):
        return str(served["folder"])
    note = Path(spec["prepared"]) / f"{served['name']}.commit"
    if not note.is_file():
        write_text(note, str(fetch(served["folder"])))
    return note.read_text(encoding="utf-8")


def _check(session: Session, folder: str) -> None:
    """Predict on a picture, which also prepares engines and memory; raise an `InputError` if that fails."""
    picture = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
    for count in {1, session.batch_size}:
        try:
            found = session.predict([session.frame(picture, "test picture") for _ in range(count)])
        except (RuntimeError, ValueError) as error:
            raise InputError(f"{folder}: the model can't predict on a test picture: {error}") from error
        for answer in found:
            if isinstance(answer, ImageError):
                continue  # a picture of noise without a face is no fault of the model
            if not _finite(answer.to_dict()):
                raise InputError(f"{folder}: the model's prediction for a test picture contains numbers that aren't finite")


def _finite(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(_finite, value.values()))
    if isinstance(value, list | tuple):
        return all(map(_finite, value))
    return not isinstance(value, float) or bool(np.isfinite(value))


def described(loaded: Loaded) -> dict[str, Any]:
    """Return the properties of the models by name, for the server's descriptions."""
    found = {}
    for name, session in loaded.sessions.items():
        model = session.model
        found[name] = {
            "backbone": model.backbone_name,
            "batch_size": session.batch_size,
            "engine": model.engine_details(),
            "heads": {head: _head(model, head) for head in model.config.heads},
            "outputs": described_outputs(model),
            "notes": _notes(model),
            **({} if model.hub is None else {"hub": model.hub}),
        }
    return found


def _head(model: Model, name: str) -> dict[str, Any]:
    head = model.config.heads[name]
    about = {"task": head.task, "classes": list(head.classes), "options": dict(head.options)}
    return {**about, "thresholds": model.head_metadata(name).get(THRESHOLDS)}


def _notes(model: Model) -> list[str]:
    """Return which heads need thresholds that they don't have, as `zoo.predict` reports it."""
    found = []
    for name, head in model.config.heads.items():
        if hint := head.definition.answers.without_operating_point(model.head_metadata(name), head.options):
            found.append(f"{name}: {hint}" if model.is_joint else hint)
    return found
