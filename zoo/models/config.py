"""The description of a saved model in model.json, from which the model can be rebuilt."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from zoo.data.names import nfc
from zoo.errors import InputError
from zoo.images.preprocess import Preprocess

CONTRACT_VERSION = 1


@dataclass(frozen=True)
class ModelConfig:
    """Configuration from which a model can be rebuilt.

    Attributes:
        backbone: name of the backbone.
        task: name of the task.
        classes: class names by index.
        options: values of all task options, by name.
        preprocess: preprocessing of images.
        norm_eps: epsilon of the backbone's batch-norms; None for the backbone's default.
        freeze: frozen layers: "none", "trunk", "stages=N", "norm", or two of these values joined by a comma; see `zoo.freeze`.
        weights: origin of the parameters with which the model was built, before any training; None if they were random.
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
        return cls(**{**values, "classes": tuple(map(nfc, values["classes"])), "preprocess": preprocess})


def read_description(folder: Path) -> tuple[ModelConfig, dict[str, Any], dict[str, Any] | None]:
    """Read model.json in the folder of a saved model.

    Returns:
        The configuration, the metadata, and, for an exported model, the entry "compiled" with its engine, networks and fingerprints.
    """
    path = folder / "model.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        version = content.pop("contract")
        metadata, compiled = dict(content.pop("metadata")), content.pop("compiled", None)
        if version != CONTRACT_VERSION:
            raise InputError(f"{path} has the contract version {version}; this version of the zoo can only read {CONTRACT_VERSION}")
        return ModelConfig.from_dict(content), metadata, compiled
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is not a valid model description ({type(error).__name__}: {error})") from error


def model_folder(folder: str | Path) -> Path:
    """Return the folder of a saved model: the folder itself, or the subfolder `model` of a run's folder."""
    folder = Path(folder).expanduser()
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
