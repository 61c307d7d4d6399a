"""Elliptic-curve keys and certificates in PEM files, and the passphrases of encrypted keys."""

from __future__ import annotations

import getpass
import hashlib
import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.errors import InputError
from zoo.system.wording import look_at

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

_CURVES = {"secp256r1": "SHA256", "secp384r1": "SHA384", "secp521r1": "SHA512"}  # names of the curves, and the hashes that belong to them
_CREATE = "create one with: openssl ecparam -name prime256v1 -genkey -noout -out key.pem"
_PUBLIC = "write it with: openssl ec -in key.pem -pubout -out key.pub"
_PACKAGES = ("blake3", "cryptography")
_MAX_BYTES = 2**20  # no key or list of certificates is larger


def require_packages(*others: str) -> None:
    """Raise an `InputError` if a package of the extra `sign` isn't installed."""
    if missing := [name for name in (*_PACKAGES, *others) if find_spec(name) is None]:
        raise InputError(f"signatures require {', '.join(missing)}; install the extra: pip install 'resnet-zoo[sign]'")


def read_private_key(path: str | Path, passphrase: str | None = None) -> ec.EllipticCurvePrivateKey:
    """Return the private key in a PEM file.

    Args:
        path: file of the key, on the curve P-256, P-384 or P-521.
        passphrase: passphrase of an encrypted key.

    Raises:
        InputError: the file can't be read, contains no private key or one of another kind, or the passphrase is missing, not needed
            or wrong.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    path = Path(path)
    data = _read(path, "private key")
    if b"PRIVATE KEY-----" not in data:
        kind = "a public key" if b"PUBLIC KEY-----" in data else "a certificate" if b"CERTIFICATE-----" in data else "no key"
        raise InputError(f"{path} contains {kind}; expected a private key in PEM format; {_CREATE}")
    try:
        key = load_pem_private_key(data, None if passphrase is None else passphrase.encode())
    except TypeError:  # the only reasons for this class
        if passphrase is None:
            raise InputError(f"the private key {path} is encrypted; pass its passphrase (--passphrase-file or --passphrase-fd)") from None
        raise InputError(f"the private key {path} isn't encrypted; omit the passphrase") from None
    except (ValueError, UnsupportedAlgorithm) as error:
        if passphrase is not None:
            raise InputError(f"the private key {path} can't be decrypted: the passphrase is wrong, or the file is damaged") from error
        raise InputError(f"{path} is not a readable private key in PEM format ({error}); {_CREATE}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise InputError(_wrong_kind(path, key))
    _check_curve(path, key.public_key())
    return key


def read_public_key(path: str | Path) -> ec.EllipticCurvePublicKey:
    """Return the public key in a PEM file. Raise an `InputError` if there is none, or one of another kind than P-256, P-384 or P-521."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    path = Path(path)
    data = _read(path, "public key")
    if b"PUBLIC KEY-----" not in data or b"PRIVATE KEY-----" in data:
        kind = "a private key" if b"PRIVATE KEY-----" in data else "a certificate" if b"CERTIFICATE-----" in data else "no key"
        hint = " For certificates, pass --certificate-roots." if kind == "a certificate" else ""
        raise InputError(f"{path} contains {kind}; expected a public key in PEM format; {_PUBLIC}.{hint}")
    try:
        key = load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InputError(f"{path} is not a readable public key in PEM format ({error}); {_PUBLIC}") from error
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise InputError(_wrong_kind(path, key))
    _check_curve(path, key)
    return key


def trusted_keys(folder: str | Path) -> dict[str, tuple[str, ec.EllipticCurvePublicKey]]:
    """Return the public keys in a folder by their hint, each with the name of its file.

    Raises:
        InputError: the folder doesn't exist, contains no key, or contains a file that isn't a public key.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise InputError(f"--trusted-keys {folder} is not a folder; expected one with public keys in PEM format. {look_at(folder)}")
    files = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    if not files:
        raise InputError(f"--trusted-keys {folder} is empty; expected public keys in PEM format; {_PUBLIC}")
    found = {path.name: read_public_key(path) for path in files}
    return {hint(key): (name, key) for name, key in found.items()}


def read_certificates(path: str | Path) -> list[x509.Certificate]:
    """Return the certificates in a PEM file. Raise an `InputError` if there are none."""
    from cryptography import x509

    path = Path(path)
    try:
        return x509.load_pem_x509_certificates(_read(path, "certificate"))
    except ValueError as error:
        raise InputError(f"{path} contains no readable certificate in PEM format ({error}); expected BEGIN CERTIFICATE") from error


def hint(key: ec.EllipticCurvePublicKey) -> str:
    """Return the identifier of a public key in signatures: the SHA-256 of its PEM form, in hexadecimal digits."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return hashlib.sha256(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def signature_algorithm(key: ec.EllipticCurvePublicKey) -> ec.ECDSA:
    """Return the algorithm for signatures with a key: ECDSA with the hash that belongs to its curve."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.ECDSA(getattr(hashes, _CURVES[key.curve.name])())


def read_passphrase(file: Path | None, descriptor: int | None) -> str | None:
    """Return the passphrase in a file or on a file descriptor: the first line. None if neither is passed.

    Raises:
        InputError: both are passed, or one can't be read or is empty.
    """
    if file is not None and descriptor is not None:
        raise InputError("--passphrase-file and --passphrase-fd can't be combined; pass only one of them")
    if file is None and descriptor is None:
        return None
    name = f"--passphrase-file {file}" if file is not None else f"--passphrase-fd {descriptor}"
    try:
        with open(file if file is not None else os.dup(descriptor or 0), encoding="utf-8") as stream:
            line = stream.readline().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is not UTF-8 text"
        raise InputError(f"{name} can't be read: {reason}; expected the passphrase in its first line") from error
    if not line:
        raise InputError(f"{name} is empty; expected the passphrase in its first line")
    return line


def ask_passphrase(path: Path) -> str | None:
    """Ask for the passphrase of a private key, if the key is encrypted and a person can answer; otherwise return None."""
    try:
        encrypted = b"ENCRYPTED" in path.read_bytes()
    except OSError:
        return None  # the error is reported when the key is read
    return getpass.getpass(f"passphrase of {path}: ") if encrypted and sys.stdin.isatty() else None


def _read(path: Path, what: str) -> bytes:
    try:
        with path.expanduser().open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except OSError as error:
        hint = f" {look_at(path)}" if isinstance(error, FileNotFoundError) else ""
        raise InputError(f"the {what} {path} can't be read: {error.strerror}.{hint}") from error
    if len(data) > _MAX_BYTES:
        raise InputError(f"{path} is larger than {_MAX_BYTES} bytes; expected a {what} in PEM format")
    return data


def _wrong_kind(path: Path, key: Any) -> str:
    kind = type(key).__name__.removeprefix("_").removesuffix("PrivateKey").removesuffix("PublicKey")
    return f"{path} contains a key of the kind {kind}; expected an elliptic-curve key on P-256, P-384 or P-521; {_CREATE}"


def _check_curve(path: Path, key: ec.EllipticCurvePublicKey) -> None:
    if key.curve.name not in _CURVES:
        raise InputError(f"the key {path} is on the curve {key.curve.name}; expected P-256, P-384 or P-521; {_CREATE}")
