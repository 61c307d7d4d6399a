"""The flags that decide which models a command may load, and decrypt them. `Command.run` adds them to every command that loads models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, make_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from zoo.artefacts.identities import Keys
from zoo.artefacts.keys import read_passphrase
from zoo.artefacts.trust import Policy, policy
from zoo.cli.context import value_of, values_of


@dataclass(frozen=True)
class TrustFlags:
    """Which models may be loaded. Defaults are those in the user's configuration file."""

    trust: Literal["off", "warn", "enforce"] | None = None
    """What to do with models that aren't signed with a trusted key (zoo sign): enforce refuses them before anything in them is parsed, warn
    reports them, and off loads them. By default off, unless the user's configuration file has another value."""
    trusted_keys: Path | None = None
    """Folder with the public keys (PEM) of trusted signers."""
    not_before: str | None = None
    """Lowest version or earliest date of a signature, such as 3 or 2026-11-30, which refuses an older model in place of a newer one."""

    @property
    def policy(self) -> Policy:
        """The policy, with the values of the user's configuration file for flags that aren't set."""
        return policy(self.trust, self.trusted_keys, self.not_before)


@dataclass(frozen=True)
class KeyFlags:
    """Keys for encrypted models (zoo encrypt), which are decrypted into memory."""

    identity: Annotated[tyro.conf.UseAppendAction[tuple[Path, ...]], tyro.conf.arg(metavar="FILE")] = ()
    """File of a private key: AGE-SECRET-KEY-1…, or an SSH key."""
    passphrase_file: Path | None = None
    """File whose first line is the passphrase of a model that was encrypted with one. Without this flag and the next, it is asked for."""
    passphrase_fd: int | None = None
    """Number of an open file descriptor from which the passphrase is read."""


def with_trust(kind: type[Any]) -> type[Any]:
    """Return a dataclass with the flags of a command as `command`, and those about the models that it loads as `trust` and `keys`."""
    flat: Any = tyro.conf.OmitArgPrefixes
    parts: list[Any] = [
        ("command", Annotated[flat[kind], tyro.conf.arg(name="", help="")]),
        ("trust", Annotated[flat[TrustFlags], tyro.conf.arg(name="trust")], field(default_factory=TrustFlags)),
        ("keys", Annotated[flat[KeyFlags], tyro.conf.arg(name="encryption")], field(default_factory=KeyFlags)),
    ]
    combined = make_dataclass(kind.__name__, parts, frozen=True)
    combined.__doc__ = kind.__doc__
    return combined


def policy_before_parsing(words: Sequence[str]) -> Policy:
    """Return the policy of a command line whose flags depend on the task, for which the description of its model must be read first."""
    plain = [_dashed(word) for word in words]
    trust, keys, least = (value_of(flag, plain) for flag in ("--trust", "--trusted-keys", "--not-before"))
    return policy(trust, keys, least)  # type: ignore[arg-type]  # another mode is refused


def keys_before_parsing(words: Sequence[str]) -> Keys:
    """Return the keys of a command line. They are read only once, since a file descriptor can't be read again after parsing."""
    plain = [_dashed(word) for word in words]
    file, descriptor = value_of("--passphrase-file", plain), value_of("--passphrase-fd", plain)
    number = int(descriptor) if descriptor is not None and descriptor.isdecimal() else None  # other values are refused when parsed
    return Keys.read(values_of("--identity", plain), read_passphrase(None if file is None else Path(file), number), asks=True)


def _dashed(word: str) -> str:
    """Return a flag with dashes in place of underscores, which are accepted as well."""
    name, equals, value = word.partition("=")
    return name.replace("_", "-") + equals + value if name.startswith("--") else word
