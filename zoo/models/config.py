"""The description of a saved model in model.json, which is enough to rebuild it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from zoo.errors import InputError
from zoo.images.preprocess import Preprocess

CONTRACT_VERSION = 1


@dataclass(frozen=True)
class ModelConfig:
    """Configuration from which a model can be rebuilt.

    Attributes:
        classes: class names by index.
        options: all options of the task.
        norm_eps: epsilon of the backbone's batch-norms; None for the backbone's own value.
        freeze: "none", "trunk", "stages=N", "norm", or two of them joined by a comma; see `zoo.freeze`.
        weights: origin of the initial parameters, before any training here; None if they were random.
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
        """Return the representation in model.json."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ModelConfig:
        """Restore the configuration from model.json."""
        preprocess = Preprocess.from_dict(values["preprocess"])
        return cls(**{**values, "classes": tuple(values["classes"]), "preprocess": preprocess})


def read_description(folder: Path) -> tuple[ModelConfig, dict[str, Any], dict[str, Any] | None]:
    """Read the model.json in the folder of a saved model.

    Returns:
        The configuration and the metadata, and the engine, networks and fingerprints of an exported model (None for any other model).

    Raises:
        InputError: model.json is damaged, or of another contract version.
    """
    path = folder / "model.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        version = content.pop("contract")
        metadata, compiled = dict(content.pop("metadata")), content.pop("compiled", None)
        if version != CONTRACT_VERSION:
            raise InputError(f"{path}: contract version {version}; this version of the zoo reads {CONTRACT_VERSION}")
        return ModelConfig.from_dict(content), metadata, compiled
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not a model description ({type(error).__name__}: {error})") from error


def model_folder(folder: str | Path) -> Path:
    """Return the folder of a saved model, given that folder or the folder of a run that holds it.

    Raises:
        InputError: neither holds a model.json.
    """
    folder = Path(folder).expanduser()
    for candidate in (folder, folder / "model"):
        if (candidate / "model.json").is_file():
            return candidate
    hint = " The run has not finished: continue it with --resume." if (folder / "recipe.toml").is_file() else ""
    raise InputError(f"{folder}: no saved model there (no model.json in it or in its folder model/).{hint}")
