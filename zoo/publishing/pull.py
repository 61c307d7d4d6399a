"""`pull`: fetch a model from the Hub, for later use without a network, or into a folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from zoo.artefacts import trust
from zoo.artefacts.hub.snapshot import CARD, MODEL, Snapshot, fetch
from zoo.artefacts.signing import SIGNATURE
from zoo.errors import InputError
from zoo.models.archive import check_place, load, save
from zoo.models.weights.saved import weights_file
from zoo.system.disk import ELSEWHERE, storing
from zoo.system.files import draft_folder, write_text


def pull(place: str, out: str | Path | None = None) -> Snapshot:
    """Fetch a model from the Hub. Afterwards it can be loaded without a network, with HF_HUB_OFFLINE=1.

    Pickles are never fetched. With a policy of trust, the model is verified.

    Args:
        place: repository, hf:OWNER/NAME or hf:OWNER/NAME@REVISION.
        out: folder for a saved model, which appears complete or not at all, and replaces a saved model there. Unless the model is signed,
            its metadata in `model.json` state the commit.

    Returns:
        The commit.

    Raises:
        InputError: there is no such repository or revision, it contains neither a model nor weights that can be read, the Hub can't be
            reached, or `out` contains other files.
        StorageError: the disk is full. No incomplete file is kept.
        SignatureError: the policy of trust refuses the model.
    """
    found = fetch(place)
    if found.is_model:
        trust.admit(found.folder, ())
    if out is not None:
        _copy(found, Path(out).expanduser())
    return found


def _copy(found: Snapshot, out: Path) -> None:
    """Write a folder with the files of a model of the zoo, or with a saved model made from other weights."""
    size = sum((found.folder / name).stat().st_size for name in found.files)
    with storing(out, size, f"then pull again, {ELSEWHERE}"):
        if not found.is_model:
            save(load(str(found), licence_policy="any"), out)
            return
        card = (found.folder / CARD).read_bytes() if CARD in found.files else None
        check_place(out, compiled=not weights_file(found.folder).is_file(), card=card)
        with draft_folder(out, MODEL) as draft:
            for name in found.files:
                shutil.copyfile(found.folder / name, draft / name)
            if SIGNATURE not in found.files:
                _note_commit(draft / MODEL, found)


def _note_commit(path: Path, found: Snapshot) -> None:
    """Write the commit into the metadata of a model."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        content["metadata"]["hub"] = found.to_dict()
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{found}: {MODEL} is not a valid model description ({type(error).__name__}: {error})") from error
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")
