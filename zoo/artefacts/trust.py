"""Which models may be loaded: those signed with a trusted key, if the user has asked for that.

The policy is that of the caller (`zoo.load(trust=…)`), or else of the command line (`--trust`), or else of the user's configuration file.
A model is verified before anything in it is parsed. model.json is parsed from the same bytes that were hashed. A file of weights or a graph
is hashed, and must be the same file, not written to since, when it has been read: inode, size and time stamps are compared. This finds
changes by other users of the machine, but not those of its administrator, nor those that a file system records too coarsely.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any, Literal, get_args

from zoo.artefacts.bundle import Bundle
from zoo.artefacts.keys import require_packages, trusted_keys
from zoo.artefacts.manifest import Identity, compare, identity
from zoo.artefacts.signing import SIGNATURE, NotBefore, check_key, check_release, parse_not_before, raise_findings, verified_manifest
from zoo.errors import InputError, SignatureError
from zoo.system.configuration import configuration

_LOG = logging.getLogger("zoo")
Mode = Literal["off", "warn", "enforce"]


@dataclass(frozen=True)
class Policy:
    """Which models may be loaded.

    Attributes:
        mode: "off" for all; "warn" to report models that aren't signed with a trusted key; "enforce" to refuse them.
        keys: folder of trusted public keys; None only with "off".
        not_before: lowest version or earliest date of a signature; None for any.
    """

    mode: Mode = "off"
    keys: Path | None = None
    not_before: NotBefore | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the arguments of `policy` as JSON-compatible values, for another process."""
        least = self.not_before.isoformat() if isinstance(self.not_before, datetime) else self.not_before
        return {"trust": self.mode, "trusted_keys": None if self.keys is None else str(self.keys), "not_before": least}


@dataclass(frozen=True)
class Admitted:
    """A model that may be parsed.

    Attributes:
        contents: verified content of files by name; files that aren't there are read from the disk.
        identities: identity of each verified file; empty if nothing was verified.
        folder: folder of the model.
    """

    folder: Path
    contents: Mapping[str, bytes] = field(default_factory=dict)
    identities: Mapping[str, Identity] = field(default_factory=dict)

    def check(self, *names: str) -> None:
        """Raise a `SignatureError` if a file that has just been read isn't the one that was verified."""
        for name in names if self.identities else ():
            if self.identities.get(name) != identity(self.folder / name):
                raise SignatureError(f"{self.folder / name} was exchanged or changed while the model was being loaded", self.folder)


_chosen: ContextVar[Policy | None] = ContextVar("trust", default=None)  # of the present call
_process: list[Policy] = []  # of the command line, for all threads; the last one counts
_warned: set[Path] = set()  # models that the command has already reported


def policy(
    trust: Mode | None = None, trusted_keys: str | Path | None = None, not_before: int | str | date | datetime | None = None
) -> Policy:
    """Return the policy with these values; those that are None are taken from the command line, or else from the user's configuration.

    Raises:
        InputError: a value is invalid, no keys are set although signatures are to be verified, or keys are passed with trust "off".
    """
    present = current()
    mode = present.mode if trust is None else trust
    if mode not in get_args(Mode):
        raise InputError(f"--trust is {mode!r}; expected one of: {', '.join(get_args(Mode))}")
    if mode == "off" and (trusted_keys is not None or not_before is not None):
        raise InputError("--trusted-keys and --not-before require --trust warn or --trust enforce, which is not set")
    keys = present.keys if trusted_keys is None else Path(trusted_keys).expanduser()
    if mode != "off" and keys is None:
        raise InputError(f"--trust {mode} requires --trusted-keys DIR, a folder of public keys in PEM format")
    return Policy(mode, keys, present.not_before if not_before is None else parse_not_before(not_before))


def current() -> Policy:
    """Return the policy for models that are loaded without one."""
    return _chosen.get() or (_process[-1] if _process else _configured())


def _configured() -> Policy:
    values = configuration()
    mode, keys = values.get("trust", "off"), values.get("trusted_keys")
    if mode not in get_args(Mode):
        raise InputError(f"{values.path}: trust is {mode!r}; expected one of: {', '.join(get_args(Mode))}")
    try:
        least = parse_not_before(values.get("not_before"))
    except InputError as error:
        raise InputError(f"{values.path}: {error}") from None
    return Policy(mode, None if keys is None else Path(keys).expanduser(), least)


@contextmanager
def using(policy: Policy) -> Iterator[None]:
    """Return a context manager with a policy for the models that this thread loads."""
    token = _chosen.set(policy)
    try:
        yield
    finally:
        _chosen.reset(token)


@contextmanager
def throughout(policy: Policy) -> Iterator[None]:
    """Return a context manager with a policy for the models that any thread of the process loads, and one warning for each model."""
    if not _process:
        _warned.clear()
    _process.append(policy)
    try:
        yield
    finally:
        _process.pop()


def admit(folder: Path, parsed: Sequence[str], *, whole: bool = True, policy: Policy | None = None, signature: str = SIGNATURE) -> Admitted:
    """Verify a folder or file according to a policy, before anything in it is parsed.

    Args:
        folder: folder of a saved or exported model, or a file.
        parsed: names of the small files whose verified content the caller parses.
        whole: whether to hash all files; otherwise only those that are parsed, for callers that read no other ones.
        policy: the policy; None for the present one.
        signature: name of the signature's file, in the folder or next to the file.

    Raises:
        SignatureError: the policy is to refuse such a model.
        InputError: the trusted keys can't be read, or the policy is incomplete.
    """
    policy = policy or current()
    if policy.mode == "off":
        return Admitted(folder)
    if policy.keys is None:
        raise InputError(f"--trust {policy.mode} requires --trusted-keys DIR, a folder of public keys in PEM format")
    require_packages()
    known = trusted_keys(policy.keys)
    real = folder.resolve()
    place = real / signature if real.is_dir() else real.with_name(signature)
    try:
        bundle = Bundle.read(place)
        check_key(bundle, place, known)
        manifest = verified_manifest(bundle, place)
        check_release(manifest, policy.not_before, place)
        found = compare(real, place, manifest, tuple(parsed), whole)
        raise_findings(real, found)
        return Admitted(real, found.contents, found.identities)
    except SignatureError as error:
        if policy.mode == "enforce":
            raise SignatureError(f"{folder} is refused by --trust enforce: {error.reason}", folder, error.findings) from error
        if not _process or real not in _warned:
            _warned.add(real)
            _LOG.warning("%s is not trusted: %s", folder, error.reason)
        return Admitted(folder)
