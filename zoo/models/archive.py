"""Save a model to a folder, and load it."""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from zoo.errors import InputError, WeightsError
from zoo.models.builder import assemble, refuse_other_options
from zoo.models.config import CONTRACT_VERSION, model_folder, read_description
from zoo.models.model import Model
from zoo.models.weights.files import read_state
from zoo.system.files import check_replaceable, draft_folder, refuse_others, write_text
from zoo.task.contract import get_task

_MARKER = "model.json"
_WEIGHTS = "weights.safetensors"


def check_place(folder: Path, compiled: bool) -> None:
    """Refuse a place in which something would be lost.

    Args:
        folder: that a model is to be written to.
        compiled: whether it is a compiled one, from which no weights can be had.

    Raises:
        InputError: it is no folder, or it holds files of somebody else, or weights that a compiled model would take the place of.
    """
    check_replaceable(folder, _MARKER)
    if not folder.is_dir():
        return
    if compiled and (folder / _WEIGHTS).is_file():
        raise InputError(f"{folder} holds a model that can be trained, which an exported one can't replace; choose another place (--out)")
    refuse_others(folder, {_MARKER, _WEIGHTS, "labels.txt", *_graphs(folder)})


def _graphs(folder: Path) -> set[str]:
    """Return the files of an exported model's networks."""
    stems: set[str] = set()
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):  # damaged: then nothing is known to be the zoo's
        content = json.loads((folder / _MARKER).read_text(encoding="utf-8"))
        stems = {Path(each["file"]).stem for each in content.get("compiled", {}).get("networks", [])}
    return {path.name for path in folder.iterdir() if path.is_file() and path.stem in stems}


def save(model: Model, folder: str | Path) -> Path:
    """Write `weights.safetensors`, or a compiled model's networks, and `model.json` into a folder, which appears whole or not at all.

    Args:
        model: what to save.
        folder: where to; an existing saved model there is replaced, by a compiled one only if it can't be trained either. Anything else
            is not touched.

    Returns:
        The folder.

    Raises:
        InputError: the folder exists and holds something else, or a compiled model would take the place of weights.
        OSError: no room, no permission; an older model there is untouched then.
    """
    folder = Path(folder)
    check_place(folder, model.compiled)
    with draft_folder(folder, "model.json") as draft:
        content = {"contract": CONTRACT_VERSION, **model.config.to_dict(), **model.write(draft), "metadata": model.metadata}
        write_text(draft / "model.json", json.dumps(content, indent=2, allow_nan=False) + "\n")
    return folder


def load(folder: str | Path, **options: Any) -> Model:
    """Rebuild a saved model exactly, or with other options than it was saved with.

    Args:
        folder: what `zoo.save` wrote, or a finished run that holds one as `model/`.
        **options: options of the task that don't change parameters, such as `score_threshold` or `image_size`; what is None is as saved.

    Raises:
        InputError: no saved model there, one of another contract version, or an option that its weights can't be used with.
        UnknownNameError: an option that the task doesn't have.
        WeightsError: the weights don't belong to the description, or don't fit the options.
    """
    folder = model_folder(folder)
    config, metadata, compiled = read_description(folder)
    options = {name: value for name, value in options.items() if value is not None}
    if compiled is not None:
        if options:
            raise InputError(f"{folder}: options of an exported model are fixed ({', '.join(options)}); export it with others")
        from zoo.models.exported import load_compiled

        return load_compiled(folder, config, metadata, compiled)
    if options:
        task = get_task(config.task)
        refuse_other_options(task, f"the weights of {folder}", config.options, options)
        before, parsed = task.parse_options(config.options), task.parse_options({**config.options, **options})
        config = replace(config, options=asdict(parsed), preprocess=task.preprocess(config.preprocess, parsed))
        if task.metadata(parsed) != task.metadata(before):  # the answers are others now
            metadata |= task.metadata(parsed)
    model = assemble(config)
    state = read_state(folder / "weights.safetensors")
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        cause = f"does not fit the options {', '.join(options)}" if options else "does not belong to model.json"
        raise WeightsError(f"{folder}: weights.safetensors {cause}: {error}") from error
    model.metadata = metadata
    return model.eval()
