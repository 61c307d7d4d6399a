"""`push`: publish a saved or exported model in a repository of the Hub, in one commit."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml

from zoo.artefacts.bundle import Bundle
from zoo.artefacts.encryption import refuse_encrypted
from zoo.artefacts.hub.errors import explained
from zoo.artefacts.hub.reference import COMMIT, Reference, endpoint, is_offline, require_package
from zoo.artefacts.hub.snapshot import CARD, MODEL, TIMM_CONFIG, TIMM_WEIGHTS, WEIGHTS, listed, model_files, stated_licence
from zoo.artefacts.signing import SIGNATURE, verified_manifest
from zoo.errors import InputError
from zoo.models.archive import load
from zoo.models.config import model_folder
from zoo.models.model import Model
from zoo.models.readme import is_generated
from zoo.publishing.timm_form import write_timm_form
from zoo.report.card import card_text
from zoo.report.card_licence import Terms, model_terms

_SMALL = (".gitattributes", "LICENSE", "LICENSE.md", "LICENSE.txt", CARD)  # files that a repository without a model may contain


@dataclass(frozen=True)
class Pushed:
    """Result of `push`.

    Attributes:
        repository: owner and name.
        commit: hash of the commit.
        url: address of the repository.
        licence: licence that the model card states.
        files: names of the files of the model.
        timm: whether timm can build the model from the repository too.
    """

    repository: str
    commit: str
    url: str
    licence: str
    files: tuple[str, ...]
    timm: bool

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON-compatible values."""
        return {**asdict(self), "files": list(self.files)}


def push(
    model: str | Path,
    to: str,
    *,
    licence: str | None = None,
    licence_link: str | None = None,
    private: bool = False,
    message: str | None = None,
) -> Pushed:
    """Publish a saved or exported model in a repository of the Hub.

    The files appear in one commit, complete or not at all. A classifier whose network timm has can be built with
    `timm.create_model("hf-hub:OWNER/NAME")` too. `zoo.load("hf:OWNER/NAME")` loads the model with the same parameters, classes,
    preprocessing and metadata. huggingface-hub finds the user's token: log in with `hf auth login`, or set the variable HF_TOKEN.

    Args:
        model: folder of a saved or exported model, or of a finished run.
        to: repository, hf:OWNER/NAME, which is created unless it exists, or hf:OWNER/NAME@BRANCH.
        licence: licence of the model, as for `zoo.card`. None for that of the model card README.md in the folder, or else, if the model
            wasn't trained, that of its weights.
        licence_link: URL of a licence that isn't in the Hub's list.
        private: whether a new repository is private.
        message: message of the commit.

    Returns:
        The commit.

    Raises:
        InputError: no licence is known, or it contradicts another one, the folder contains no model, or a graph that contains pickles, the
            repository contains files of other programs, or the Hub refuses the commit or can't be reached.

    Example:
        >>> zoo.push("runs/birds", "hf:me/birds", licence="Apache-2.0")  # doctest: +SKIP
    """
    reference = Reference.parse(to)
    refuse_encrypted(model, "zoo push publishes models unencrypted")
    folder = model_folder(model)
    require_package()
    if reference.is_commit:
        raise InputError(f"{reference}: a commit can't be changed; expected hf:OWNER/NAME, or hf:OWNER/NAME@BRANCH")
    if is_offline():
        raise InputError(f"{reference}: HF_HUB_OFFLINE forbids requests; unset it to push")
    built = load(folder, licence_policy="any")
    card = _card(folder, built, licence, licence_link, reference.name)
    stated = str(stated_licence(card))
    with tempfile.TemporaryDirectory(prefix="zoo-push-") as place:
        reason = write_timm_form(built, Path(place), stated)
        files = _files(folder, shared=not reason) | {CARD: card.encode()}
        if not reason:
            files |= {name: Path(place) / name for name in (TIMM_CONFIG, TIMM_WEIGHTS)}
        commit = _commit(reference, files, private, message or f"Add the model {built.backbone_name}")
    return Pushed(reference.repository, commit, reference.url, stated, tuple(sorted(files)), not reason)


def _files(folder: Path, shared: bool) -> dict[str, Path | bytes]:
    """Return the files of a model by name.

    If the weights are also those for timm (`shared`), they are left out, unless a signature covers them.
    """
    present = {path.name: path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")}
    names = set(model_files([*present])) - {TIMM_CONFIG, TIMM_WEIGHTS}
    if graphs := sorted(name for name in present if name.endswith(".pt2")):
        raise InputError(f"{folder / graphs[0]} contains pickles, which aren't published; export the model with --format openvino or onnx")
    if signed := _signed(folder):
        if others := sorted(signed - names):
            raise InputError(
                f"{folder}: the signature covers {others[0]}, which isn't published; remove the file, and sign the model again"
            )
    elif shared:
        names -= {WEIGHTS}
    return {name: present[name] for name in sorted(names)}


def _card(folder: Path, model: Model, licence: str | None, link: str | None, name: str) -> str:
    """Return the model card: that in the folder, with the licence if it states none, or else a new one.

    Raises:
        InputError: no licence is known, it contradicts that of the card or of the weights, or a signature covers a card without one.
    """
    path = folder / CARD
    terms = model_terms(model, licence, link)
    card = _existing_card(path)
    if card is None or (stated_licence(card) is None and is_generated(path)):
        found = card_text(folder, licence=licence, licence_link=link, name=name)
    elif (stated := stated_licence(card)) is not None:
        asked = None if terms is None or licence is None else terms.name or terms.identifier
        if asked is not None and asked != stated.lower():
            raise InputError(f"{path} states the licence {stated!r}, but --licence is {licence!r}; correct one of them")
        found = card
    else:
        found = card if terms is None else _with_terms(card, terms)
    if stated_licence(found) is None:
        inherited = "; ".join(f"{each.weights}: {each.licence}" for each in model.config.licences)
        raise InputError(
            f"{folder}: the licence of the model isn't known{f' (its weights: {inherited})' if inherited else ''}; "
            f"pass one with --licence, such as Apache-2.0, or write 'license: …' into the metadata of {CARD}"
        )
    if found != card and _signed(folder):
        what = f"doesn't cover a model card, {CARD}" if card is None else f"covers {CARD}, which states no licence"
        raise InputError(
            f"{folder}: the signature {what}; write the card with its licence first (zoo card {folder} --licence …), then sign the model "
            "again"
        )
    return found


def _existing_card(path: Path) -> str | None:
    try:
        return path.read_bytes().decode("utf-8") if path.is_file() else None
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not valid UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8") from error


def _with_terms(card: str, terms: Terms) -> str:
    """Return a model card whose metadata, which may be missing, also contain the licence."""
    values = {"license": terms.identifier, "license_name": terms.name, "license_link": terms.link}
    lines = yaml.safe_dump({name: value for name, value in values.items() if value is not None}, sort_keys=False)
    start = re.match(r"---[ \t]*\r?\n", card)
    return f"{start[0]}{lines}{card[start.end() :]}" if start is not None else f"---\n{lines}---\n\n{card}"


def _signed(folder: Path) -> set[str]:
    """Return the names of the files that the signature of a model covers; none without a signature."""
    path = folder / SIGNATURE
    return set(verified_manifest(Bundle.read(path), path).digests) if path.is_file() else set()


def _commit(reference: Reference, files: Mapping[str, Path | bytes], private: bool, message: str) -> str:
    """Create the commit with the files, in place of those of an earlier model, and return its hash."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    api = HfApi(endpoint=endpoint())
    with explained(reference, write=True), ExitStack() as opened:
        api.create_repo(reference.repository, private=private or None, exist_ok=True)
        if reference.revision is not None:
            api.create_branch(reference.repository, branch=reference.revision, exist_ok=True)
        parent, present = listed(reference)
        removed = sorted(_replaced(reference, present) - set(files))
        streamed = not _has_xet(reference)  # huggingface-hub uploads open files over plain HTTP
        operations: list[CommitOperationAdd | CommitOperationDelete] = [CommitOperationDelete(name) for name in removed]
        for name, content in files.items():
            given = opened.enter_context(content.open("rb")) if streamed and isinstance(content, Path) else content
            operations.append(CommitOperationAdd(name, given))
        made = api.create_commit(
            reference.repository,
            operations,
            commit_message=message,
            revision=reference.revision,
            parent_commit=parent if COMMIT.fullmatch(parent) else None,
        )
    return str(made.oid)


def _has_xet(reference: Reference) -> bool:
    """Return whether the server stores large files with Xet, which servers other than the Hub's may not support."""
    from huggingface_hub.utils import build_hf_headers, get_session  # type: ignore[attr-defined]

    address = f"{endpoint()}/api/models/{reference.repository}/xet-write-token/{quote(reference.branch, safe='')}"
    return bool(get_session().get(address, headers=build_hf_headers()).status_code == HTTPStatus.OK)


def _replaced(reference: Reference, present: Sequence[str]) -> set[str]:
    """Return the files of the model in a repository, which a new one replaces.

    Raises:
        InputError: there are files, but not those of a model of the zoo.
    """
    if MODEL in present:
        return {*model_files(present), *(name for name in (TIMM_CONFIG, TIMM_WEIGHTS) if name in present)}
    if others := [name for name in present if name not in _SMALL]:
        raise InputError(
            f"{reference} contains files of another program ({', '.join(others[:4])}), which won't be replaced; choose another name"
        )
    return set()
