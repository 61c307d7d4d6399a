"""The description of a saved model in model.json, from which the model can be rebuilt."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from zoo.artefacts.encryption import SUFFIX, is_encrypted, refuse_encrypted
from zoo.artefacts.hub.reference import is_reference
from zoo.artefacts.hub.snapshot import fetch
from zoo.artefacts.trust import Admitted, admit
from zoo.backbones import Licence
from zoo.data.names import nfc
from zoo.errors import InputError
from zoo.images.preprocess import Preprocess
from zoo.models.passes import Pass, passes_of
from zoo.system.files import write_text
from zoo.task.contract import Task, get_task

CONTRACT_VERSION = 1
DESCRIPTION = "model.json"


@dataclass(frozen=True)
class HeadConfig:
    """Configuration of one head.

    Attributes:
        task: name of the task.
        classes: class names by index.
        options: values of all task options, by name.
        preprocess: preprocessing of the head's images.
        adapters: whether the head has adapters in the backbone.
    """

    task: str
    classes: tuple[str, ...]
    options: dict[str, Any]
    preprocess: Preprocess
    adapters: bool = False

    @property
    def definition(self) -> Task:
        """The definition of the task, in the variant for the head's options."""
        return get_task(self.task, self.options)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> HeadConfig:
        """Restore the configuration from model.json."""
        preprocess = Preprocess.from_dict(values["preprocess"])
        return cls(**{**values, "classes": tuple(map(nfc, values["classes"])), "preprocess": preprocess})


@dataclass(frozen=True)
class ModelConfig:
    """Configuration from which a model can be rebuilt.

    `task`, `classes`, `options` and `preprocess` are those of the only head. A model with several heads has them in `heads`.

    Attributes:
        backbone: name of the backbone.
        heads: configuration of each head by its name, which is the name of its task unless the user has chosen another.
        norm_eps: epsilon of the backbone's batch-norms; None for the backbone's default.
        freeze: frozen layers: "none", "trunk", "stages=N", "norm", or two of these values joined by a comma; see `zoo.freeze`.
        weights: origin of the parameters with which the model was built, before any training; None if they were random.
        licences: licences of these weights, and of those that they were trained from.
    """

    backbone: str
    heads: dict[str, HeadConfig]
    norm_eps: float | None = None
    freeze: str = "none"
    weights: str | None = None
    licences: tuple[Licence, ...] = ()

    @property
    def only(self) -> HeadConfig:
        """The configuration of the only head.

        Raises:
            InputError: the model has several heads.
        """
        if len(self.heads) > 1:
            raise InputError(f"the model has several heads ({', '.join(self.heads)}); take one out with zoo.split(model, NAME)")
        return next(iter(self.heads.values()))

    @property
    def task(self) -> str:
        """The name of the task."""
        return self.only.task

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names by index."""
        return self.only.classes

    @property
    def options(self) -> dict[str, Any]:
        """Values of all task options, by name."""
        return self.only.options

    @property
    def preprocess(self) -> Preprocess:
        """Preprocessing of images."""
        return self.only.preprocess

    @property
    def passes(self) -> list[Pass]:
        """The passes through the backbone that one image needs, one for each way of preprocessing."""
        return passes_of({name: (head.preprocess, head.adapters) for name, head in self.heads.items()})

    def alone(self, name: str) -> ModelConfig:
        """Return the configuration of a model with one of the heads, which is named after its task."""
        head = self.heads[name]
        return replace(self, heads={head.task: head})

    def to_dict(self) -> dict[str, Any]:
        """Return the representation in model.json. The configuration of an only head that is named after its task isn't nested."""
        values = {**asdict(self), "licences": [each.to_dict() for each in self.licences]}
        heads = {
            name: {key: value for key, value in head.items() if (key, value) != ("adapters", False)}
            for name, head in values.pop("heads").items()
        }
        if [*heads] == [head["task"] for head in heads.values()][:1]:
            return {"backbone": values.pop("backbone"), **heads[self.task], **values}
        return {"backbone": values.pop("backbone"), "heads": heads, **values}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ModelConfig:
        """Restore the configuration from model.json."""
        own = {entry.name: values[entry.name] for entry in fields(cls) if entry.name in values}
        rest = {name: value for name, value in values.items() if name not in own}
        own["licences"] = _licences(own)
        heads = own.pop("heads", None)
        if heads is None:
            heads = {rest["task"]: rest}
        elif rest:
            raise TypeError(f"unexpected entries {', '.join(rest)}")
        return cls(heads={name: HeadConfig.from_dict(head) for name, head in heads.items()}, **own)


def _licences(values: Mapping[str, Any]) -> tuple[Licence, ...]:
    """Return the licences in model.json. Versions that don't have them wrote only the origin of the weights."""
    if "licences" in values:
        return tuple(Licence(**each) for each in values["licences"])
    origin = values.get("weights")
    return () if origin is None else (Licence(origin, note="saved by a version of the zoo that didn't store licences"),)


def read_description(folder: Path, admitted: Admitted | None = None) -> tuple[ModelConfig, dict[str, Any], dict[str, Any] | None]:
    """Read model.json in the folder of a saved model.

    Args:
        folder: folder of the model, or an encrypted model.
        admitted: the model, verified according to the caller's policy; None to verify model.json here, for callers that read nothing else.

    Returns:
        The configuration, the metadata, and, for an exported model, the entry "compiled" with its engine, networks and fingerprints.
    """
    path, admitted = folder / DESCRIPTION, admitted or admit(folder, (DESCRIPTION,), whole=False)
    data = admitted.contents.get(DESCRIPTION)
    try:
        content = json.loads(path.read_text(encoding="utf-8") if data is None else str(data, "utf-8"))
        version = content.pop("contract")
        metadata, compiled = dict(content.pop("metadata")), content.pop("compiled", None)
        if version != CONTRACT_VERSION:
            raise InputError(f"{path} has the contract version {version}; this version of the zoo can only read {CONTRACT_VERSION}")
        return ModelConfig.from_dict(content), metadata, compiled
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is not a valid model description ({type(error).__name__}: {error})") from error


def model_folder(folder: str | Path, *, weights: bool = True) -> Path:
    """Return the folder of a saved model: the folder itself, or the subfolder `model` of a run's folder. An encrypted model is a file.

    For a repository of the Hub, it is the folder of the commit in the local cache, into which missing files are fetched: all of them, or
    only small ones, such as model.json, if `weights` is false.
    """
    if is_reference(folder):
        snapshot = fetch(folder, weights=weights)
        if not snapshot.is_model:
            raise InputError(f"{snapshot} contains weights of another program, and no model of the zoo (model.json)")
        return snapshot.folder
    folder = Path(folder).expanduser()
    if is_encrypted(folder):
        return folder
    if folder.suffix == SUFFIX and folder.is_file():
        raise InputError(f"{folder} is damaged, or isn't an encrypted model: it doesn't begin as zoo encrypt writes it; get it again")
    if folder.is_file():
        raise InputError(
            f"{folder} is a file, and contains no saved model, which is a folder. To load weights from a file, pass a backbone as well: "
            f"--backbone NAME --weights {folder}, or zoo.build(NAME, weights=…)."
        )
    for candidate in (folder, folder / "model"):
        if (candidate / "model.json").is_file():
            return candidate
    hint = " The run has not finished: continue it with --resume." if (folder / "recipe.toml").is_file() else ""
    raise InputError(f"{folder} contains no saved model (no model.json there or in its subfolder model/).{hint}")


def saved_config(place: str | Path) -> ModelConfig | None:
    """Return the configuration of the saved model that a text names, which may also be something else, such as an image; None if it is."""
    if is_reference(place):
        snapshot = fetch(place, weights=False)
        return read_description(snapshot.folder)[0] if snapshot.is_model else None
    if not is_encrypted(place) and not any((Path(place) / part).is_file() for part in (DESCRIPTION, f"model/{DESCRIPTION}")):
        return None
    return read_description(model_folder(place))[0]


def check_changeable(place: str | Path) -> None:
    """Raise an `InputError` if a model is in a repository of the Hub, or encrypted, and can't be changed there."""
    refuse_encrypted(place, "zoo tune changes the model.json of a folder")
    if is_reference(place):
        raise InputError(
            f"{place}: a repository of the Hub can't be changed; pass --out FOLDER, or the folder of zoo pull {place} --out FOLDER"
        )


def store_metadata(folder: str | Path, metadata: Mapping[str, Any]) -> None:
    """Replace the metadata in the model.json of a saved or exported model atomically. No other file is changed.

    Args:
        folder: folder of the model, or of a finished run.
        metadata: the new metadata.
    """
    check_changeable(folder)
    path = model_folder(folder) / "model.json"
    content = {**json.loads(path.read_text(encoding="utf-8")), "metadata": metadata}
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")
