"""Save models to folders, and load saved models."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from datetime import date, datetime
from pathlib import Path
from typing import Any

from zoo.artefacts import identities
from zoo.artefacts import trust as trusting
from zoo.artefacts.encryption import is_encrypted
from zoo.artefacts.hub.reference import PREFIX, is_reference
from zoo.artefacts.hub.snapshot import CARD, TIMM_CONFIG, TIMM_WEIGHTS, WEIGHTS, Snapshot, complete, fetch
from zoo.artefacts.identities import Keys, Paths
from zoo.artefacts.signing import SIGNATURE
from zoo.errors import InputError, WeightsError
from zoo.models.builder import build, components, refuse_other_options
from zoo.models.config import CONTRACT_VERSION, ModelConfig, model_folder, read_description
from zoo.models.exported import load_compiled
from zoo.models.heads import by_head, sharing
from zoo.models.model import Model
from zoo.models.readme import is_generated
from zoo.models.weights.licences import LicencePolicy, check_licences, report_licences
from zoo.models.weights.repositories import own_licence, timm_backbone
from zoo.models.weights.saved import saved_state, weights_file
from zoo.models.whole import SCRIPT
from zoo.system.files import check_replaceable, draft_folder, refuse_others, write_text
from zoo.task.contract import Task

_LOG = logging.getLogger("zoo")
_MARKER = "model.json"
SBOM = "sbom.cdx.json"  # inventory of an exported model


def check_place(folder: Path, compiled: bool, card: bytes | None = None) -> None:
    """Raise an `InputError` if other files are in a folder, or if a compiled model would replace a trainable one.

    A model card may be there if `zoo card` wrote it, or if its content is `card`.
    """
    if is_reference(folder):
        raise InputError(f"{folder} is a repository of the Hub; save the model to a folder, and publish it with zoo push FOLDER {folder}")
    check_replaceable(folder, _MARKER)
    if not folder.is_dir():
        return
    if compiled and weights_file(folder).is_file():
        raise InputError(
            f"{folder} contains a trainable model; refusing to overwrite it with an exported model; choose another folder (--out)"
        )
    networks, labels = set[str](), {"labels.txt"}  # stems of the network files, files with class names
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):  # model.json is damaged: assume no network files
        content = json.loads((folder / _MARKER).read_text(encoding="utf-8"))
        networks = {Path(each["file"]).stem for each in content.get("compiled", {}).get("networks", [])}
        labels |= {f"labels-{name}.txt" for name in content.get("heads", {})}
    graphs = {path.name for path in folder.iterdir() if path.is_file() and path.stem in networks}
    path = folder / CARD
    own = {CARD} if is_generated(path) or (path.is_file() and path.read_bytes() == card) else set[str]()
    refuse_others(folder, {_MARKER, WEIGHTS, TIMM_CONFIG, TIMM_WEIGHTS, SCRIPT, SIGNATURE, SBOM, *labels, *graphs, *own})


def save(model: Model, folder: str | Path) -> Path:
    """Save a model to a folder, which appears complete or not at all.

    The folder contains `model.json` and either `weights.safetensors` or the networks of a compiled model.

    Args:
        model: model to save.
        folder: destination. A saved model there is replaced, but a compiled model never replaces a trainable one. A folder with other
            content is left unchanged.

    Returns:
        The folder.

    Raises:
        InputError: the folder contains other files, a compiled model would replace a trainable one, or the model was encrypted, so that its
            weights may not be written.
        OSError: no space is left, or permission is denied. A model that is already in the folder is left unchanged.
    """
    return save_with(model, Path(folder), lambda draft: None)


def save_with(model: Model, folder: Path, finish: Callable[[Path], object]) -> Path:
    """Save a model as `save` does. Before the folder appears, `finish` may add files to it; its argument is the complete folder."""
    refuse_encrypted(model, "saved or exported, since that writes its weights to the disk")
    check_place(folder, model.compiled)
    with draft_folder(folder, _MARKER) as draft:
        content = {"contract": CONTRACT_VERSION, **model.config.to_dict(), **model.write(draft), "metadata": model.metadata}
        write_text(draft / _MARKER, json.dumps(content, indent=2, allow_nan=False) + "\n")
        finish(draft)
    return folder


def refuse_encrypted(model: Model, what: str) -> None:
    """Raise an `InputError` if a model was loaded from an encrypted file; `what` is the participle of what can't be done, and why."""
    if model.encrypted:
        raise InputError(
            f"an encrypted model can't be {what}; decrypt the file first (age -d -i KEY FILE | tar x -C FOLDER), and load the folder"
        )


def _with_options(
    config: ModelConfig, metadata: dict[str, Any], options: Mapping[str, Any], folder: Path
) -> tuple[ModelConfig, dict[str, Any]]:
    """Return the configuration and the metadata of a saved model with other values of options."""
    heads, joint = dict(config.heads), len(config.heads) > 1
    for name, asked in by_head({name: head.definition for name, head in heads.items()}, options).items():
        task, head = heads[name].definition, heads[name]
        refuse_other_options(task, f"the weights of {folder}", head.options, asked)
        _refuse_other_layers(task, folder, head.options, asked)
        before, parsed = task.parse_options(head.options), task.parse_options({**head.options, **asked})
        heads[name] = replace(head, options=asdict(parsed), preprocess=task.building.preprocess(head.preprocess, parsed))
        if task.building.metadata(parsed) != task.building.metadata(before):  # the saved metadata describes other outputs
            (metadata["heads"][name] if joint else metadata).update(task.building.metadata(parsed))
    together = {name for way in config.passes if len(way.heads) > 1 for name in way.heads}
    shared = sharing({name: head for name, head in heads.items() if name in together}, options)
    return replace(config, heads={name: shared.get(name, head) for name, head in heads.items()}), metadata


def _refuse_other_layers(task: Task, folder: Path, saved: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """Raise an `InputError` if an option describes other layers than those that were saved."""
    for name in task.building.layer_options():
        if name in asked and json.dumps(asked[name] or None) != json.dumps(saved.get(name)):
            stated = f"with {saved[name]!r}" if saved.get(name) is not None else "without"
            raise InputError(
                f"{folder}: {name} is {asked[name]!r}, but the model was saved {stated}; omit it, or build and train another model with it"
            )


def _check_metadata(config: ModelConfig, metadata: Mapping[str, Any], path: Path) -> None:
    """Raise an `InputError` if the metadata of a head, such as its thresholds, isn't valid for its classes."""
    for name, head in config.heads.items():
        own = metadata.get("heads", {}).get(name) if len(config.heads) > 1 else metadata
        if not isinstance(own, Mapping):
            raise InputError(f"{path}: the metadata has no entry for the head {name!r}; save the model again")
        try:
            head.definition.answers.for_model(head.classes, own)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None


def load(
    folder: str | Path,
    *,
    identity: Paths | None = None,
    passphrase: str | None = None,
    trust: trusting.Mode | None = None,
    trusted_keys: str | Path | None = None,
    not_before: int | str | date | datetime | None = None,
    licence_policy: LicencePolicy | None = None,
    **options: Any,
) -> Model:
    """Load a saved model, optionally with different options than those it was saved with.

    Args:
        folder: a folder written by `zoo.save`, or the folder of a finished run, which contains a saved model in `model/`; or a repository
            of the Hub, hf:OWNER/NAME or hf:OWNER/NAME@REVISION, with a model that `zoo.push` wrote, or a classifier of timm; or a file
            written by `zoo.encrypt`, which is decrypted into memory, so that its weights can't be saved, exported or trained.
        identity: file of a private key for an encrypted model (AGE-SECRET-KEY-1…, or an SSH key), or several files; None for those of the
            command line.
        passphrase: passphrase of a model that was encrypted with one.
        trust: "enforce" to refuse a model that isn't signed with a trusted key (`zoo.sign`), before anything in it is parsed; "warn" to log
            a warning; "off" to load any model. None for the value in the user's configuration file, or else "off".
        trusted_keys: folder with the trusted public keys, in PEM files; None for that in the user's configuration file.
        not_before: lowest version or earliest date of the signature; see `zoo.verify`.
        licence_policy: "permissive" to refuse a model that inherits a licence that isn't permissive, or is unknown; see `zoo.build`.
        **options: task options that don't affect parameters, such as `score_threshold` or `image_size`. The value None keeps the saved
            value. For a model with several heads, see `zoo.build`.

    Returns:
        The model, in evaluation mode.

    Raises:
        SignatureError: `trust` is "enforce", and the model isn't signed with a trusted key, was changed, or is older than `not_before`.
        InputError: the folder contains no saved model, an encrypted model can't be decrypted, a key is passed for a model that isn't
            encrypted, the model has another contract version, the metadata of a head is invalid, `licence_policy` refuses the model, or an
            option contradicts the weights.
        UnknownNameError: the task doesn't have one of the options.
        WeightsError: the weights don't match model.json or the options.
    """
    options = {name: value for name, value in options.items() if value is not None}
    own = identity is not None or passphrase is not None
    if own and (is_reference(folder) or not is_encrypted(model_folder(folder))):
        raise InputError(f"{folder} is not encrypted; omit the identity and the passphrase")
    keys = Keys.read(identity, passphrase) if own else identities.current()
    with trusting.using(trusting.policy(trust, trusted_keys, not_before)), identities.using(keys):
        if is_reference(folder):
            return _load_repository(folder, licence_policy, options)
        return _load_folder(model_folder(folder), licence_policy, options)


def _load_repository(place: str | Path, licence_policy: LicencePolicy | None, options: Mapping[str, Any]) -> Model:
    """Load a model from a repository of the Hub, whose licence is checked before its weights are fetched."""
    snapshot = fetch(place, weights=False)
    check_licences([own_licence(snapshot)], licence_policy)
    if not snapshot.is_model:
        return build(timm_backbone(snapshot), weights=place, licence_policy=licence_policy, **options)
    complete(snapshot)
    return _load_folder(snapshot.folder, licence_policy, options, snapshot)


def _from_repository(config: ModelConfig, snapshot: Snapshot) -> ModelConfig:
    """Return the configuration of a model with the licence of its repository, in place of that of an earlier commit."""
    earlier = f"{PREFIX}{snapshot.reference.repository}@"
    return replace(config, licences=(own_licence(snapshot), *(each for each in config.licences if not each.weights.startswith(earlier))))


def _load_folder(folder: Path, licence_policy: LicencePolicy | None, options: Mapping[str, Any], snapshot: Snapshot | None = None) -> Model:
    """Load a model from its folder, which is the commit `snapshot` of a repository unless that is None."""
    admitted = trusting.admit(folder, (_MARKER,))
    config, metadata, compiled = read_description(folder, admitted)
    if snapshot is not None:
        config, metadata["hub"] = _from_repository(config, snapshot), snapshot.to_dict()
    check_licences(config.licences, licence_policy)
    report_licences(config.licences, _LOG.warning)
    _check_metadata(config, metadata, folder / _MARKER)
    if compiled is not None:
        if options:
            raise InputError(
                f"{folder}: the options of an exported model are fixed ({', '.join(options)}); export the model again with other options"
            )
        exported = load_compiled(folder, config, metadata, compiled, admitted)
        exported.encrypted = admitted.encrypted
        return exported
    if options:
        config, metadata = _with_options(config, metadata, options, folder)
    model = Model(*components(config))
    state = saved_state(folder, config, admitted.contents if admitted.encrypted else None)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        cause = f"does not match the options {', '.join(options)}" if options else "does not match model.json"
        raise WeightsError(f"{folder}: {weights_file(folder).name} {cause}: {error}") from error
    admitted.check(weights_file(folder).name)
    model.metadata, model.encrypted = metadata, admitted.encrypted
    return model.eval()
