"""Signature files: Sigstore bundles whose envelope (DSSE) contains the signed statement.

Formats: https://github.com/secure-systems-lab/dsse and https://docs.sigstore.dev/about/bundle.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.artefacts.keys import hint, signature_algorithm
from zoo.errors import InputError, SignatureError

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

_MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
_PAYLOAD_TYPE = "application/vnd.in-toto+json"
_MAX_BYTES = 64 * 2**20
_OF_SIGSTORE = {"certificate", "tlogEntries", "timestampVerificationData"}  # verified by its library
_KEYS = {
    *("mediaType", "verificationMaterial", "dsseEnvelope", "payload", "payloadType", "signatures", "sig", "keyid"),
    *("publicKey", "hint", "rawBytes", "keyDetails", "x509CertificateChain", "certificates", *_OF_SIGSTORE),
}


@dataclass(frozen=True)
class Bundle:
    """A signature that hasn't been verified.

    Attributes:
        payload: signed statement.
        signature: signature of the statement, in DER form.
        key: hint of the public key; None if it wasn't signed with a key.
        chain: certificates in DER form, that of the signer first; empty if it wasn't signed with a certificate.
        text: content of the file.
    """

    payload: bytes
    signature: bytes
    key: str | None
    chain: tuple[bytes, ...]
    text: str

    @classmethod
    def read(cls, path: Path) -> Bundle:
        """Read a signature file.

        Raises:
            SignatureError: the file doesn't exist, or isn't a signature.
        """
        try:
            with path.open("rb") as file:
                data = file.read(_MAX_BYTES + 1)
        except FileNotFoundError:
            raise SignatureError(f"{path.parent} is not signed: there is no {path.name}; sign it with zoo sign", path) from None
        if len(data) > _MAX_BYTES:
            raise SignatureError(f"{path} is larger than any signature", path)
        return cls.parse(data, path)

    @classmethod
    def parse(cls, data: bytes, path: Path) -> Bundle:
        """Read the content of a signature file; the path is for messages. Raise a `SignatureError` if it isn't a signature."""
        try:
            text = data.decode("utf-8")
            content = json.loads(text)
            if content["mediaType"] != _MEDIA_TYPE:
                raise ValueError(f"the media type is {content['mediaType']!r}")
            _check_keys(content)
            material, envelope = content["verificationMaterial"], content["dsseEnvelope"]
            if envelope["payloadType"] != _PAYLOAD_TYPE or len(envelope["signatures"]) != 1:
                raise ValueError("expected one signature of an in-toto statement")
            key = material["publicKey"].get("hint") or "" if "publicKey" in material else None
            certificates = material["x509CertificateChain"]["certificates"] if "x509CertificateChain" in material else ()
            chain = tuple(_decoded(each["rawBytes"]) for each in certificates)
            return cls(_decoded(envelope["payload"]), _decoded(envelope["signatures"][0]["sig"]), key, chain, text)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise SignatureError(
                f"{path} is not a signature of a model ({type(error).__name__}: {error}); sign the model again", path
            ) from None

    def signed_by(self, key: ec.EllipticCurvePublicKey) -> bool:
        """Return whether the signature belongs to the statement and a key."""
        from cryptography.exceptions import InvalidSignature

        try:
            key.verify(self.signature, _encoded(self.payload), signature_algorithm(key))
        except InvalidSignature:
            return False
        return True


def signed(payload: bytes, key: ec.EllipticCurvePrivateKey, chain: tuple[x509.Certificate, ...] = ()) -> str:
    """Sign a statement with a private key, and return the content of the signature file.

    Args:
        payload: statement.
        key: private key.
        chain: certificates, that of the key first; empty to name the key alone.
    """
    from cryptography.hazmat.primitives.serialization import Encoding

    material: dict[str, Any] = {"publicKey": {"hint": hint(key.public_key())}}
    if chain:
        certificates = [{"rawBytes": _text(each.public_bytes(Encoding.DER))} for each in chain]
        material = {"x509CertificateChain": {"certificates": certificates}}
    signature = key.sign(_encoded(payload), signature_algorithm(key.public_key()))
    envelope = {"payload": _text(payload), "payloadType": _PAYLOAD_TYPE, "signatures": [{"sig": _text(signature), "keyid": ""}]}
    content = {"mediaType": _MEDIA_TYPE, "verificationMaterial": {**material, "tlogEntries": []}, "dsseEnvelope": envelope}
    return json.dumps(content)


def check_overwritable(path: Path) -> Bundle | None:
    """Return the signature that will be overwritten; None if there is none. Raise an `InputError` if the file isn't a signature."""
    if not path.exists() and not path.is_symlink():
        return None
    try:
        return Bundle.read(path)
    except (SignatureError, OSError) as error:
        raise InputError(f"{path} exists and isn't a readable signature; it will not be overwritten: delete it first") from error


def _encoded(payload: bytes) -> bytes:
    """Return the bytes that DSSE signs for a payload: its pre-authentication encoding."""
    return f"DSSEv1 {len(_PAYLOAD_TYPE)} {_PAYLOAD_TYPE} {len(payload)} ".encode() + payload


def _check_keys(content: Any) -> None:
    """Raise a `ValueError` if a bundle has keys of no known meaning, which isn't signed content."""
    for key, value in content.items() if isinstance(content, dict) else ():
        if key not in _KEYS:
            raise ValueError(f"unknown entry {key!r}")
        if key not in _OF_SIGSTORE:
            for each in value if isinstance(value, list) else [value]:
                _check_keys(each)


def _decoded(text: str) -> bytes:
    data = base64.b64decode(text, validate=True)
    if _text(data) != text:
        raise ValueError("the Base64 text isn't canonical")
    return data


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
