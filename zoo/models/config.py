"""What model.json says of a saved model: enough to rebuild it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from zoo.errors import InputError
from zoo.images.preprocess import Preprocess

CONTRACT_VERSION = 1


@dataclass(frozen=True)
class ModelConfig:
    """Enough to rebuild a model.

    Attributes:
        backbone: the trunk's name.
        task: the task's name.
        classes: names by index.
        options: the task's options, all of them.
        preprocess: how pictures are prepared.
        norm_eps: the trunk's batch-norm epsilon where weights demand another than its own.
        freeze: "none", "trunk", "stages=N", "norm", or two of them joined by a comma; see `zoo.freeze`.
        weights: where the parameters came from before any training here.
    """

    backbone: str
    task: str
    classes: tuple[str, ...]
    options: dict[str, Any]
    preprocess: Preprocess
    norm_eps: float | None = None
    freeze: str = "none"
    weights: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the config as it stands in model.json."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ModelConfig:
        """Read the config back from model.json."""
        known = dict(values)
        known["classes"] = tuple(known["classes"])
        known["preprocess"] = Preprocess.from_dict(known["preprocess"])
        return cls(**known)


class Description(NamedTuple):
    """What a model.json says.

    Attributes:
        config: how to rebuild the model.
        metadata: what travels with it.
        compiled: of an exported model, its engine, networks and fingerprint; None of any other.
    """

    config: ModelConfig
    metadata: dict[str, Any]
    compiled: dict[str, Any] | None


def read_description(folder: Path) -> Description:
    """Read the model.json of a saved model's folder.

    Raises:
        InputError: it is damaged, or of another contract version.
    """
    path = folder / "model.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        version = content.pop("contract")
        metadata, compiled = dict(content.pop("metadata")), content.pop("compiled", None)
        if version != CONTRACT_VERSION:
            raise InputError(f"{path}: contract version {version}; this zoo reads {CONTRACT_VERSION}")
        config = ModelConfig.from_dict(content)
        return Description(config, metadata, compiled)
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not a model description ({type(error).__name__}: {error})") from error


def model_folder(folder: str | Path) -> Path:
    """Return the folder of a saved model, given it or the run that holds it.

    Raises:
        InputError: there is none.
    """
    folder = Path(folder).expanduser()
    for candidate in (folder, folder / "model"):
        if (candidate / "model.json").is_file():
            return candidate
    hint = " The run has not finished: continue it with --resume." if (folder / "recipe.toml").is_file() else ""
    raise InputError(f"{folder}: no saved model there (no model.json in it or in its folder model/).{hint}")
