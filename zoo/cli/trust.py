"""The flags that decide which models a command may load. `Command.run` adds them to every command that loads models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, make_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from zoo.artefacts.trust import Policy, policy
from zoo.cli.context import value_of


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


def with_trust(kind: type[Any]) -> type[Any]:
    """Return a dataclass with the flags of a command as `command`, and the flags that decide which models it may load as `trust`."""
    flat: Any = tyro.conf.OmitArgPrefixes
    parts: list[Any] = [
        ("command", Annotated[flat[kind], tyro.conf.arg(name="", help="")]),
        ("trust", Annotated[flat[TrustFlags], tyro.conf.arg(name="trust")], field(default_factory=TrustFlags)),
    ]
    combined = make_dataclass(kind.__name__, parts, frozen=True)
    combined.__doc__ = kind.__doc__
    return combined


def policy_before_parsing(words: Sequence[str]) -> Policy:
    """Return the policy of a command line whose flags depend on the task, for which the description of its model must be read first."""
    plain = [_dashed(word) for word in words]
    trust, keys, least = (value_of(flag, plain) for flag in ("--trust", "--trusted-keys", "--not-before"))
    return policy(trust, keys, least)  # type: ignore[arg-type]  # another mode is refused


def _dashed(word: str) -> str:
    """Return a flag with dashes in place of underscores, which are accepted as well."""
    name, equals, value = word.partition("=")
    return name.replace("_", "-") + equals + value if name.startswith("--") else word
