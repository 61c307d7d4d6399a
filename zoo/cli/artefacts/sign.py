"""The `zoo sign` command."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from zoo.cli.context import print_json
from zoo.cli.flags import Json
from zoo.errors import InputError


@dataclass(frozen=True)
class SignFlags:
    """Sign a model, an export, a report or any other folder or file, so that others can verify its origin and that nothing was changed."""

    path: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="MODEL")]
    """Folder of a run, of a saved or exported model, or of a report; or a file."""
    key: Path | None = None
    """Private key (PEM) on the curve P-256, P-384 or P-521."""
    passphrase_file: Path | None = None
    """File whose first line is the passphrase of an encrypted key. Without this flag and the next, the passphrase is asked for."""
    passphrase_fd: int | None = None
    """Number of an open file descriptor from which the passphrase is read."""
    certificate: Path | None = None
    """Certificate of the key (PEM), with which others can verify the signature without having the key."""
    chain: Annotated[tyro.conf.UseAppendAction[tuple[Path, ...]], tyro.conf.arg(metavar="FILE")] = ()
    """Certificates (PEM) between --certificate and a root; may be repeated."""
    sigstore: bool = False
    """Sign with your identity instead of a key, by Sigstore's public services. This needs a network."""
    identity_token_file: Path | None = None
    """File with an identity token for --sigstore; by default that of the environment, or a log-in in a browser."""
    staging: bool = False
    """Use Sigstore's services for tests."""
    signature: Path | None = None
    """File for the signature; by default model.sig in the folder, or FILE.sig next to a file."""
    version: int | None = None
    """Version of the model, for --not-before; by default that of the signature that is replaced plus 1, or else 1."""
    json: Json = False


def run(flags: SignFlags) -> int:
    """Run the command and return its exit status."""
    from zoo.artefacts.keys import ask_passphrase, read_passphrase
    from zoo.artefacts.signing import sign
    from zoo.system.wording import counted

    passphrase = read_passphrase(flags.passphrase_file, flags.passphrase_fd)
    if passphrase is None and flags.key is not None:
        passphrase = ask_passphrase(flags.key)
    found = sign(
        flags.path, flags.key, passphrase=passphrase, certificate=flags.certificate, chain=flags.chain, sigstore=flags.sigstore,
        identity_token=_token(flags), staging=flags.staging, signature=flags.signature, version=flags.version,
    )  # fmt: skip
    if flags.json:
        print_json(found.to_dict())
    else:
        print(f"signed {found.path}: {counted(len(found.files), 'file')}, version {found.version}; signature: {found.signature}")
    return 0


def _token(flags: SignFlags) -> str | None:
    file = flags.identity_token_file
    if file is None:
        return None
    if not flags.sigstore:
        raise InputError("--identity-token-file requires --sigstore, which is not set")
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is not a text file"
        raise InputError(f"--identity-token-file {file} can't be read: {reason}; expected an OpenID Connect token") from error
