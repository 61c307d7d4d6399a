"""The `zoo verify` command."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from zoo.cli.context import print_json
from zoo.cli.flags import Json
from zoo.errors import SignatureError


@dataclass(frozen=True)
class VerifyFlags:
    """Verify the signature of a model, an export, a report or any other folder or file. The exit status is 1 if something was changed."""

    path: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="MODEL")]
    """Folder of a run, of a saved or exported model, or of a report; a file; or hf:OWNER/NAME."""
    key: Path | None = None
    """Public key (PEM) of the signer."""
    certificate_roots: Annotated[tyro.conf.UseAppendAction[tuple[Path, ...]], tyro.conf.arg(metavar="FILE")] = ()
    """Root certificates (PEM), one of which must have certified the signer; may be repeated."""
    identity: str | None = None
    """Identity that has signed with Sigstore, such as an e-mail address. Requires --issuer and a network."""
    issuer: str | None = None
    """Issuer of the identity, such as https://accounts.google.com."""
    staging: bool = False
    """Use Sigstore's services for tests."""
    signature: Path | None = None
    """File of the signature; by default model.sig in the folder, or FILE.sig next to a file."""
    not_before: str | None = None
    """Lowest version or earliest date that is accepted, such as 3 or 2026-11-30."""
    gallery: str | None = None
    """Also check that this gallery of faces (a file, or postgresql://…) belongs to the signed model: their fingerprints must be equal."""
    json: Json = False


def run(flags: VerifyFlags) -> int:
    """Run the command and return its exit status."""
    from zoo.artefacts.hub.reference import is_reference
    from zoo.artefacts.signing import verify

    path = flags.path
    if is_reference(path):
        from zoo.artefacts.hub.snapshot import fetch  # imports torch

        path = fetch(path).folder
    try:
        found = verify(
            path, flags.key, certificate_roots=flags.certificate_roots, identity=flags.identity, issuer=flags.issuer,
            staging=flags.staging, signature=flags.signature, not_before=flags.not_before,
        )  # fmt: skip
        if flags.gallery is not None:
            _check_gallery(found.path, flags.gallery)
    except SignatureError as error:
        if flags.json:
            print_json({"path": str(flags.path), "verified": False, "reason": error.reason, "findings": list(error.findings)})
        else:
            print(f"zoo: {error}", file=sys.stderr)
        return 1
    if flags.json:
        print_json({**found.to_dict(), "verified": True, "findings": []})
        return 0
    about: dict[str, Any] = {"signer": found.signer, "version": found.version, "date": found.date, "files": ", ".join(found.files)}
    print(f"verified {found.path}")
    for name, value in about.items():
        if value is not None:
            print(f"{name}: {value}")
    if flags.gallery is not None:
        print(f"gallery: {flags.gallery} belongs to this model")
    return 0


def _check_gallery(folder: Path, place: str) -> None:
    """Raise a `SignatureError` unless a gallery was made with the verified model, whose fingerprint is computed from its files."""
    from zoo.models.archive import load
    from zoo.tasks.face.gallery import Embedder, Gallery

    model = load(folder, trust="off")  # just verified, with the signer of the flags
    heads = [name for name, head in model.config.heads.items() if head.task == "face"]
    signed = {Embedder.of(model.view(name)).fingerprint for name in heads}
    with Gallery(place) as gallery:
        owner = gallery.model
    if owner.fingerprint not in signed:
        raise SignatureError(f"the gallery {place} belongs to another model, {owner}", folder)
