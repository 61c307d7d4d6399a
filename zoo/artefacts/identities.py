"""Recipients and identities: the public and the private keys of encrypted models, and the passphrases in place of keys.

The keys for models that are loaded are those of the caller (`zoo.load(identity=…)`), or else those of the command line (`--identity`).
"""

from __future__ import annotations

import getpass
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from zoo.artefacts.age import secret_of
from zoo.errors import InputError
from zoo.system.wording import look_at

_PACKAGES = ("cryptography", "pyrage")
_CREATE = "create one with: age-keygen -o key.txt"
_MAX_BYTES = 2**20  # no file of keys is larger
_SIGNING = re.compile(r"-----BEGIN (EC PARAMETERS|(EC )?(PRIVATE|PUBLIC) KEY|ENCRYPTED PRIVATE KEY|CERTIFICATE)-----")
_PUBLIC = re.compile(r"age1|ssh-\w+ ")
Paths = str | Path | Sequence[str | Path]


def require_packages() -> None:
    """Raise an `InputError` if a package of the extra `encrypt` isn't installed."""
    if missing := [name for name in _PACKAGES if find_spec(name) is None]:
        raise InputError(f"encrypted models require {', '.join(missing)}; install the extra: pip install 'resnet-zoo[encrypt]'")


@dataclass(frozen=True)
class Identity:
    """A private key: its form for pyrage, and its 32 bytes if it is an X25519 key."""

    key: Any = field(repr=False)
    secret: bytes | None = field(default=None, repr=False)


class Keys:
    """Private keys and a passphrase, with which encrypted models are decrypted.

    Attributes:
        names: names of the files of the private keys, for messages.
        identities: the private keys.
    """

    def __init__(self, texts: Mapping[str, str] | None = None, passphrase: str | None = None, *, asks: bool = False) -> None:
        """Take keys.

        Args:
            texts: contents of the files of private keys, by name.
            passphrase: passphrase of models that were encrypted with one.
            asks: whether the user may be asked for the passphrase, at a terminal.

        Raises:
            InputError: a text contains no private key, or one of another kind.
        """
        self._texts, self._passphrase, self._asks = dict(texts or {}), passphrase, asks
        self.names = tuple(self._texts)
        self.identities = tuple(each for name, text in self._texts.items() for each in _identities(name, text))
        self.kept: tuple[Any, Any] | None = None  # the model that was decrypted last, if its description alone was read

    @classmethod
    def read(cls, identity: Paths | None, passphrase: str | None = None, *, asks: bool = False) -> Keys:
        """Read the files of private keys.

        Raises:
            InputError: a file can't be read, contains no private key, or one of another kind; or the passphrase is empty.
        """
        if passphrase == "":
            raise InputError("the passphrase is empty; expected the passphrase of an encrypted model")
        paths = () if identity is None else (identity,) if isinstance(identity, str | Path) else tuple(identity)
        return cls({_shown(path): _read(path, "identity") for path in paths}, passphrase, asks=asks)

    def to_dict(self) -> dict[str, Any]:
        """Return the keys as JSON-compatible values for another process. They are secret."""
        return {"texts": self._texts, "passphrase": self._passphrase}

    def passphrase(self, path: Path) -> str:
        """Return the passphrase of an encrypted model, which is asked for once if that is possible.

        Raises:
            InputError: there is none.
        """
        if self._passphrase is None and self._asks and sys.stdin.isatty():
            self._passphrase = getpass.getpass(f"passphrase of {path}: ")
        if not self._passphrase:
            other = f"; {', '.join(self.names)} can't decrypt it" if self.names else ""
            raise InputError(
                f"{path} is encrypted with a passphrase{other}: pass it with --passphrase-file or --passphrase-fd (in Python: passphrase=…)"
            )
        return self._passphrase

    @property
    def has_passphrase(self) -> bool:
        """Whether a passphrase is known."""
        return bool(self._passphrase)


_chosen: ContextVar[Keys | None] = ContextVar("keys", default=None)  # of the present call
_process: list[Keys] = []  # of the command line, for all threads; the last ones count


def current() -> Keys:
    """Return the keys for models that are loaded without any."""
    return _chosen.get() or (_process[-1] if _process else Keys())


@contextmanager
def using(keys: Keys) -> Iterator[None]:
    """Return a context manager with the keys for the models that this thread loads."""
    token = _chosen.set(keys)
    try:
        yield
    finally:
        _chosen.reset(token)


@contextmanager
def throughout(keys: Keys) -> Iterator[None]:
    """Return a context manager with the keys for the models that any thread of the process loads."""
    _process.append(keys)
    try:
        yield
    finally:
        _process.pop()


def read_recipients(values: Iterable[str | Path]) -> list[Any]:
    """Return public keys in pyrage's form.

    Args:
        values: public keys (age1… or ssh-ed25519 … or ssh-rsa …), or files with one of them in each line.

    Raises:
        InputError: a value is neither, a file can't be read, or a key has another kind.
    """
    found = []
    for value in values:
        text = str(value)
        if _is_private(text):
            raise InputError("a recipient is a private key; expected the public key that belongs to it: age-keygen -y key.txt")
        if _PUBLIC.match(text):
            found.append(_recipient(text, "recipient"))
            continue
        lines = [(number, line) for number, line in enumerate(_read(value, "recipient").splitlines(), 1) if _counts(line)]
        if not lines:
            raise InputError(f"{value} contains no recipients; expected a public key in each line, such as age1… or ssh-ed25519 …")
        found += [_recipient(line.strip(), f"{value}, line {number}") for number, line in lines]
    return found


def _recipient(text: str, where: str) -> Any:
    import pyrage

    if _SIGNING.search(text):
        raise InputError(f"{where} is a key in PEM format, as zoo sign uses, and can't encrypt; expected age1…, ssh-ed25519 … or ssh-rsa …")
    if _is_private(text):
        raise InputError(f"{where} is a private key; expected the public key that belongs to it: age-keygen -y key.txt")
    try:
        return pyrage.ssh.Recipient.from_str(text) if text.startswith("ssh-") else pyrage.x25519.Recipient.from_str(text)
    except pyrage.RecipientError as error:
        raise InputError(
            f"{where}: {text[:40]!r} is not a public key that can be used ({error}); expected an X25519 key (age1…), ssh-ed25519 or ssh-rsa"
        ) from error


def _identities(name: str, text: str) -> list[Identity]:
    """Return the private keys in the text of a file. Messages never contain the text, which is secret."""
    require_packages()
    import pyrage

    if _SIGNING.search(text):
        raise InputError(f"{name} is a key in PEM format, as zoo sign uses, and can't decrypt; expected AGE-SECRET-KEY-1… or an SSH key")
    if "-----BEGIN" in text:
        return [_ssh(name, text)]
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if not _counts(line):
            continue
        if text.startswith("age-encryption.org/"):
            raise InputError(f"{name} is an encrypted file, not an identity; decrypt an encrypted identity first, with age -d")
        if _PUBLIC.match(line):
            raise InputError(f"{name}, line {number} is a public key, a recipient; expected the private key that belongs to it; {_CREATE}")
        try:
            found.append(Identity(pyrage.x25519.Identity.from_str(line.strip()), secret_of(line.strip())))
        except pyrage.IdentityError as error:
            raise InputError(
                f"{name}, line {number} is not a private key ({error}); expected AGE-SECRET-KEY-1…, or the file of an SSH key; {_CREATE}"
            ) from error
    if not found:
        raise InputError(f"{name} contains no private key; expected AGE-SECRET-KEY-1…, or the file of an SSH key; {_CREATE}")
    return found


def _ssh(name: str, text: str) -> Identity:
    import pyrage

    try:
        return Identity(pyrage.ssh.Identity.from_buffer(text.encode()))
    except pyrage.IdentityError as error:
        hint = "remove its passphrase from a copy, with ssh-keygen -p" if "must be decrypted" in str(error) else _CREATE
        raise InputError(
            f"{name} is not an SSH key that can be used ({error}); expected ssh-ed25519 or ssh-rsa without a passphrase; {hint}"
        ) from error


def _is_private(text: str) -> bool:
    return text.strip().upper().startswith("AGE-SECRET-KEY-") or "-----BEGIN" in text


def _counts(line: str) -> bool:
    """Return whether a line of a file of keys is neither empty nor a comment."""
    return bool(line.strip()) and not line.lstrip().startswith("#")


def _shown(path: str | Path) -> str:
    """Return the name of an identity's file. Raise an `InputError` if it is the identity itself, which isn't repeated."""
    if _is_private(str(path)):
        raise InputError(
            "an identity is passed as its text; expected the path of the file that contains it, since others can see the arguments of a "
            "command. Treat this identity as known to others"
        )
    return str(path)


def _read(path: str | Path, what: str) -> str:
    path = Path(path).expanduser()
    try:
        with open(path, "rb") as file:
            data = file.read(_MAX_BYTES + 1)
        if len(data) <= _MAX_BYTES:
            return data.decode("utf-8")
    except OSError as error:
        hint = f" {look_at(path)}" if isinstance(error, FileNotFoundError) else ""
        kind = " It is neither a file nor a public key." if what == "recipient" and isinstance(error, FileNotFoundError) else ""
        raise InputError(f"the {what} {path} can't be read: {os.strerror(error.errno or 0)}.{kind}{hint}") from error
    except UnicodeDecodeError:
        pass
    raise InputError(f"the {what} {path} is not a text file with keys; expected one key in each line, or an SSH key")
