"""The `zoo encrypt` command."""

from __future__ import annotations

import getpass
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from zoo.cli.context import print_json
from zoo.cli.flags import Json
from zoo.errors import InputError


@dataclass(frozen=True)
class EncryptFlags:
    """Encrypt a model or an export into one file, in the format of age. Commands that load models decrypt it into memory (--identity)."""

    model: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="MODEL")]
    """Folder of a run, or of a saved or exported model. It remains as it is."""
    to: Annotated[tyro.conf.UseAppendAction[tuple[str, ...]], tyro.conf.arg(metavar="RECIPIENT")] = ()
    """Public key of someone who can decrypt the model: age1…, "ssh-ed25519 …", "ssh-rsa …", or a file with one in each line."""
    passphrase: bool = False
    """Encrypt with a passphrase instead, which is asked for unless one of the next two flags is set."""
    passphrase_file: Path | None = None
    """File whose first line is the passphrase."""
    passphrase_fd: int | None = None
    """Number of an open file descriptor from which the passphrase is read."""
    out: Path | None = None
    """The encrypted file; by default MODEL.age. An existing file isn't replaced."""
    json: Json = False


def run(flags: EncryptFlags) -> int:
    """Run the command and return its exit status."""
    from zoo.artefacts.encryption import encrypt
    from zoo.artefacts.keys import read_passphrase
    from zoo.system.wording import counted

    passphrase = read_passphrase(flags.passphrase_file, flags.passphrase_fd)
    if passphrase is None and flags.passphrase and not flags.to:
        passphrase = _asked(flags.model)
    if flags.to and flags.passphrase:
        raise InputError("--to and --passphrase can't be combined; pass only one of them")
    found = encrypt(flags.model, flags.out, recipients=flags.to, passphrase=passphrase)
    if flags.json:
        print_json(found.to_dict())
    else:
        for_whom = "with a passphrase" if passphrase is not None else f"for {', '.join(flags.to)}"
        print(f"encrypted {found.folder}: {counted(len(found.files), 'file')} in {found.path}, {for_whom}")
        print(f"{found.folder} still exists, unencrypted; delete it if only the encrypted file is to remain")
    return 0


def _asked(model: Path) -> str:
    """Ask for a new passphrase, twice. Raise an `InputError` if that is impossible, or the answers differ."""
    if not sys.stdin.isatty():
        raise InputError("--passphrase asks at a terminal, and there is none; pass --passphrase-file or --passphrase-fd")
    answers = {getpass.getpass(f"new passphrase of {model}: "), getpass.getpass("the same again: ")}
    if len(answers) > 1:
        raise InputError("the two passphrases differ; nothing was encrypted")
    return answers.pop()
