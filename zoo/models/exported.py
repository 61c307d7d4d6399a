"""Exported models: compiled models whose networks are loaded from files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from shutil import copyfile
from typing import Any

import torch
from torch import Tensor

from zoo.data.fingerprint import file_fingerprint
from zoo.engines import ENGINES, Runner, Tensors, or_else
from zoo.errors import InputError
from zoo.models.compiled import PICTURES, Agreement, Compiled, Making, SizeHW
from zoo.models.config import ModelConfig
from zoo.system.wording import reason


class Stored:
    """Networks stored in the files of an exported model."""

    def __init__(self, folder: Path, networks: Sequence[Mapping[str, Any]], making: Making, files: Mapping[str, str]) -> None:
        """Prepare to read the networks of an exported model.

        Args:
            folder: folder of the exported model.
            networks: entries of the networks in model.json.
            making: engine and precision of the model.
            files: fingerprints of the files at export, by name; empty for exports by old versions.
        """
        self._folder, self._networks, self._making, self._known = folder, list(networks), making, files
        self._engine = ENGINES[making.engine]()
        self._files = {(each["name"], tuple(each["size_hw"]) if each["size_hw"] else None): each["file"] for each in networks}

    def made_for(self, size_hw: SizeHW) -> SizeHW | None:
        """Return `size_hw` if there is a graph for images of this size; None if the graph accepts images of any size.

        Raises:
            InputError: no graph accepts images of this size.
        """
        if (PICTURES, None) in self._files:
            return None
        if (PICTURES, size_hw) not in self._files:
            sizes = " or ".join(f"{size[0]}×{size[1]}" for _, size in self._files if size)
            raise InputError(
                f"{self._folder}: this exported model accepts images of {sizes} pixels, not of {size_hw[0]}×{size_hw[1]}; "
                "export it at that size"
            )
        return size_hw

    def runner(self, name: str, size_hw: SizeHW | None) -> Runner:
        """Read a network from its files and return its runner.

        Raises:
            InputError: a file is missing, damaged or has changed since the export, or the engine can't run the network.
        """
        if (name, size_hw) not in self._files:
            raise InputError(f"{self._folder}: model.json lists no graph for the network {name!r}; export the model again")
        path = self._folder / self._files[name, size_hw]
        try:
            for file, known in self._known.items():
                if Path(file).stem == path.stem and file_fingerprint(self._folder / file) != known:
                    raise InputError(f"{self._folder / file} is damaged, or isn't the file that was exported; export the model again")
            run = self._engine.start(self._engine.read(path), self._making.precision, self._making.threads)  # type: ignore[arg-type]
        except InputError:
            raise
        except Exception as error:  # engines raise errors of any class
            raise InputError(f"{path} can't be read ({reason(error)}); export the model again") from error

        def refused(error: Exception, *inputs: Tensor) -> Tensors:
            raise InputError(
                f"{path}: this graph doesn't support inputs of shape {tuple(inputs[0].shape)} ({reason(error)}); use the model that it was "
                "exported from, or another format"
            ) from error

        return or_else(run, refused)

    def write(self, folder: Path) -> list[dict[str, Any]]:
        """Copy the files of all networks to a folder, and return the networks' entries for model.json."""
        stems = {Path(each["file"]).stem for each in self._networks}
        for path in self._folder.iterdir():
            if path.stem in stems and path.suffix != ".json":
                copyfile(path, folder / path.name)
        return [dict(each) for each in self._networks]


def load_compiled(folder: Path, config: ModelConfig, metadata: Mapping[str, Any], compiled: Mapping[str, Any]) -> Compiled:
    """Load an exported model.

    Args:
        folder: folder of the model.
        config: configuration of the model.
        metadata: metadata of the model.
        compiled: the entry "compiled" of model.json. `read_description` returns it, the configuration and the metadata.

    Raises:
        InputError: the entry is invalid, or the engine isn't installed.
    """
    try:
        agreement = Agreement(**compiled["agreement"])
        making = Making(compiled["engine"], compiled["precision"], torch.get_num_threads(), agreement)
        if making.precision not in ENGINES[making.engine].precisions:
            raise ValueError(f"precision {making.precision!r}")
        fingerprints = {name: str(compiled["fingerprints"][name]) for name in ("model", "embeddings")}
        networks = [{"name": each["name"], "file": each["file"], "size_hw": each["size_hw"]} for each in compiled["networks"]]
        if PICTURES not in [each["name"] for each in networks]:
            raise ValueError(f"no network {PICTURES!r}")
        files = dict(compiled.get("files", {}))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{folder / 'model.json'}: the entry 'compiled' is invalid ({reason(error)}); export the model again") from error
    missing = ENGINES[making.engine].missing()
    if missing is not None:
        raise InputError(f"{folder}: {missing}")
    return Compiled(config, metadata, fingerprints, Stored(folder, networks, making, files), making)
