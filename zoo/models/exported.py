"""Exported models, which are compiled models whose networks are stored in files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from shutil import copyfile
from typing import Any, get_args

import torch
from torch import Tensor

from zoo.artefacts.trust import Admitted
from zoo.data.fingerprint import content_fingerprint, file_fingerprint
from zoo.engines import ENGINES, Runner, Tensors, or_else
from zoo.errors import InputError
from zoo.models.compiled import Agreement, Compiled, Making, SizeHW
from zoo.models.config import ModelConfig
from zoo.models.networks import first_networks
from zoo.models.whole import InputType, WholeModel
from zoo.system.wording import reason


class Stored:
    """Networks stored in the files of an exported model."""

    def __init__(
        self, folder: Path, networks: Sequence[Mapping[str, Any]], making: Making, files: Mapping[str, str], admitted: Admitted
    ) -> None:
        """Prepare to read networks. `files` maps file names to fingerprints from the export; it is empty for exports by old versions."""
        self._admitted = admitted
        self._folder, self._networks, self._making, self._known = folder, list(networks), making, files
        self._engine = ENGINES[making.engine]()
        self._outputs: dict[str, Mapping[str, Sequence[int]]] = {each["name"]: each.get("outputs", {}) for each in networks}
        self._files = {(each["name"], tuple(each["size_hw"]) if each["size_hw"] else None): each["file"] for each in networks}

    def made_for(self, name: str, size_hw: SizeHW) -> SizeHW | None:
        """Return `size_hw` if a pass has a graph for images of this size; None if its graph accepts images of any size."""
        if (name, None) in self._files:
            return None
        if (name, size_hw) not in self._files:
            sizes = " or ".join(f"{size[0]}×{size[1]}" for network, size in self._files if size and network == name)
            raise InputError(
                f"{self._folder}: this exported model accepts images of {sizes} pixels, not of {size_hw[0]}×{size_hw[1]}; "
                "export it at that size"
            )
        return size_hw

    def outputs(self, name: str) -> Mapping[str, Sequence[int]]:
        """Return the positions of each head's tensors among the outputs of a pass; empty for a model with one head."""
        return self._outputs[name]

    def runner(self, name: str, size_hw: SizeHW | None) -> Runner:
        """Read a network from its files and return its runner. Raise an `InputError` if that fails, or a file changed since the export."""
        if (name, size_hw) not in self._files:
            raise InputError(f"{self._folder}: model.json lists no graph for the network {name!r}; export the model again")
        path = self._folder / self._files[name, size_hw]
        try:
            for file, known in self._known.items():
                if Path(file).stem == path.stem and self._fingerprint(file) != known:
                    raise InputError(f"{self._folder / file} is damaged, or isn't the file that was exported; export the model again")
            run = self._engine.start(self._read(path), self._making.precision, self._making.threads)  # type: ignore[arg-type]
            self._admitted.check(*(name for name in self._admitted.identities if Path(name).stem == path.stem))
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

    def _fingerprint(self, file: str) -> str:
        return content_fingerprint(self._admitted.contents[file]) if self._admitted.encrypted else file_fingerprint(self._folder / file)

    def _read(self, path: Path) -> Any:
        return self._engine.read_contents(path.name, self._admitted.contents) if self._admitted.encrypted else self._engine.read(path)

    def write(self, folder: Path) -> list[dict[str, Any]]:
        """Copy the files of all networks to a folder, and return the networks' entries for model.json."""
        stems = {Path(each["file"]).stem for each in self._networks}
        for path in self._folder.iterdir():
            if path.stem in stems and path.suffix != ".json":
                copyfile(path, folder / path.name)
        return [dict(each) for each in self._networks]


def load_compiled(
    folder: Path, config: ModelConfig, metadata: Mapping[str, Any], compiled: Mapping[str, Any], admitted: Admitted
) -> Compiled:
    """Load an exported model from its folder and the values that `read_description` returns for it."""
    try:
        of = compiled["agreement"]
        joint = len(config.heads) > 1
        agreement = {name: Agreement(**of[name]) for name in config.heads} if joint else Agreement(**of)
        making = Making(compiled["engine"], compiled["precision"], torch.get_num_threads(), agreement)
        if making.precision not in ENGINES[making.engine].precisions:
            raise ValueError(f"precision {making.precision!r}")
        given = compiled["fingerprints"]
        if joint:
            fingerprints = {"model": str(given["model"]), "heads": {name: _fingerprints(given["heads"][name]) for name in config.heads}}
        else:
            fingerprints = _fingerprints(given)
        networks = [_network(each) for each in compiled["networks"]]
        for name, way in first_networks(config).items():
            by_position = joint and compiled.get("whole") is None  # the outputs of a whole graph have the names of the heads
            _check_pass(name, [each for each in networks if each["name"] == name], way.heads if by_position else ())
        files = dict(compiled.get("files", {}))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{folder / 'model.json'}: the entry 'compiled' is invalid ({reason(error)}); export the model again") from error
    missing = ENGINES[making.engine].missing()
    if missing is not None:
        raise InputError(f"{folder}: {missing}")
    stored, whole = Stored(folder, networks, making, files, admitted), compiled.get("whole")
    if whole is None:
        return Compiled(config, metadata, fingerprints, stored, making)
    if not isinstance(whole, Mapping) or whole.get("input") not in get_args(InputType):
        raise InputError(f"{folder / 'model.json'}: the entry 'whole' is invalid; export the model again")
    return WholeModel(config, metadata, fingerprints, stored, making, whole["input"])


def _fingerprints(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: str(values[name]) for name in ("model", "embeddings")}


def _network(values: Mapping[str, Any]) -> dict[str, Any]:
    outputs = {head: [int(place) for place in places] for head, places in values.get("outputs", {}).items()}
    return {"name": values["name"], "file": values["file"], "size_hw": values["size_hw"], **({"outputs": outputs} if outputs else {})}


def _check_pass(name: str, networks: Sequence[Mapping[str, Any]], heads: Sequence[str]) -> None:
    """Raise a `ValueError` unless a pass has a network with the outputs of these heads."""
    if not networks:
        raise ValueError(f"no network {name!r}")
    for head in heads:
        if not networks[0].get("outputs", {}).get(head):
            raise ValueError(f"no outputs of the network {name!r} for the head {head!r}")
