"""Which models may be loaded: those signed with a trusted key, if the user has asked for that.

The policy is that of the caller (`zoo.load(trust=…)`), or else of the command line (`--trust`), or else of the user's configuration file.
A model is verified before anything in it is parsed. model.json is parsed from the same bytes that were hashed. A file of weights or a graph
is hashed, and must be the same file, not written to since, when it has been read: inode, size and time stamps are compared. This finds
changes by other users of the machine, but not those of its administrator, nor those that a file system records too coarsely.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any, Literal, get_args

from zoo.artefacts import identities
from zoo.artefacts.bundle import Bundle
from zoo.artefacts.encryption import decrypted, is_encrypted
from zoo.artefacts.keys import require_packages, trusted_keys
from zoo.artefacts.manifest import Identity, Manifest, compare, compare_contents, identity
from zoo.artefacts.signing import SIGNATURE, NotBefore, check_key, check_release, parse_not_before, raise_findings, verified_manifest
from zoo.errors import InputError, SignatureError
from zoo.system.configuration import configuration

_LOG = logging.getLogger("zoo")
Mode = Literal["off", "warn", "enforce"]
TrustedKeys = dict[str, tuple[str, Any]]  # public keys by their hint, with the name of their file


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
        folder: folder of the model, or the encrypted file.
        encrypted: whether the model is encrypted, so that `contents` has all of its files, and none of them may be written to the disk.
    """

    folder: Path
    contents: Mapping[str, bytes | memoryview] = field(default_factory=dict)
    identities: Mapping[str, Identity] = field(default_factory=dict)
    encrypted: bool = False

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


def admit(
    folder: Path,
    parsed: Sequence[str],
    *,
    whole: bool = True,
    policy: Policy | None = None,
    signature: str = SIGNATURE,
) -> Admitted:
    """Verify a folder or file according to a policy, before anything in it is parsed. An encrypted model is decrypted into memory first.

    Args:
        folder: folder of a saved or exported model, an encrypted model, or another file.
        parsed: names of the small files whose verified content the caller parses.
        whole: whether to hash all files; otherwise only those that are parsed, for callers that read no other ones.
        policy: the policy; None for the present one.
        signature: name of the signature's file, in the folder or next to the file.

    Raises:
        SignatureError: the policy is to refuse such a model.
        InputError: the trusted keys can't be read, the policy is incomplete, or an encrypted model can't be decrypted.
    """
    policy = policy or current()
    if is_encrypted(folder):
        found = Admitted(folder, decrypted(folder, identities.current(), keep=not whole), encrypted=True)
        return _judged(folder, policy, found, lambda known: _verify_contents(found, known, policy))
    return _judged(folder, policy, Admitted(folder), lambda known: _verified(folder, known, policy, tuple(parsed), whole, signature))


def _judged(folder: Path, policy: Policy, unverified: Admitted, verify: Callable[[TrustedKeys], Admitted]) -> Admitted:
    """Return what `verify` returns for the trusted keys. If that fails, refuse the model or report it, as the policy demands."""
    if policy.mode == "off":
        return unverified
    if policy.keys is None:
        raise InputError(f"--trust {policy.mode} requires --trusted-keys DIR, a folder of public keys in PEM format")
    require_packages()
    known, real = trusted_keys(policy.keys), folder.resolve()
    try:
        return verify(known)
    except SignatureError as error:
        if policy.mode == "enforce":
            raise SignatureError(f"{folder} is refused by --trust enforce: {error.reason}", folder, error.findings) from error
        if not _process or real not in _warned:
            _warned.add(real)
            _LOG.warning("%s is not trusted: %s", folder, error.reason)
        return unverified


def _verified(folder: Path, known: TrustedKeys, policy: Policy, parsed: tuple[str, ...], whole: bool, signature: str) -> Admitted:
    """Verify a folder or file by its signature."""
    real = folder.resolve()
    place = real / signature if real.is_dir() else real.with_name(signature)
    manifest = _manifest(Bundle.read(place), place, known, policy)
    found = compare(real, place, manifest, parsed, whole)
    raise_findings(real, found.findings)
    return Admitted(real, found.contents, found.identities)


def _verify_contents(found: Admitted, known: TrustedKeys, policy: Policy) -> Admitted:
    """Verify a decrypted model by the signature in it, which was made before the model was encrypted."""
    if SIGNATURE not in found.contents:
        raise SignatureError(
            f"{found.folder} is not signed: there is no {SIGNATURE} in it; sign the folder before it is encrypted", found.folder
        )
    place = found.folder / SIGNATURE
    manifest = _manifest(Bundle.parse(bytes(found.contents[SIGNATURE]), place), place, known, policy)
    raise_findings(found.folder, compare_contents(found.contents, SIGNATURE, manifest))
    return found


def _manifest(bundle: Bundle, place: Path, known: TrustedKeys, policy: Policy) -> Manifest:
    check_key(bundle, place, known)
    manifest = verified_manifest(bundle, place)
    check_release(manifest, policy.not_before, place)
    return manifest
