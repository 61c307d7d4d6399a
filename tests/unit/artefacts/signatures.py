"""Keys, certificates and signed models for tests."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import torch
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import oid

from zoo.models.archive import save
from zoo.models.builder import build

CURVES = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1()}


def write_private(path: Path, key: Any, passphrase: str | None = None) -> Path:
    """Write a private key to a PEM file."""
    lock: Any = serialization.NoEncryption() if passphrase is None else serialization.BestAvailableEncryption(passphrase.encode())
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, lock))
    return path


def write_public(path: Path, key: Any) -> Path:
    """Write the public key of a private key to a PEM file."""
    path.write_bytes(key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo))
    return path


def write_keys(folder: Path, name: str = "key", curve: Any = CURVES["P-256"]) -> tuple[Path, Path]:
    """Write a new private and public key to PEM files, and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    key = ec.generate_private_key(curve)
    return write_private(folder / f"{name}.pem", key), write_public(folder / f"{name}.pub", key)


def save_model(folder: Path, classes: tuple[str, ...] = ("a", "b")) -> Path:
    """Save a tiny classifier."""
    torch.manual_seed(0)
    return save(build("test_resnet", classes=classes, image_size=32), folder)


def issue(
    path: Path, key: Any, issuer: tuple[x509.Certificate, Any] | None = None, *, authority: bool = False, days: int = 30, signs: bool = True
) -> x509.Certificate:
    """Write a certificate of a key to a PEM file, issued by another one or by itself; negative days: it has expired."""
    name = x509.Name([x509.NameAttribute(oid.NameOID.COMMON_NAME, path.stem)])
    end = datetime.now(UTC) + timedelta(days=days)
    usage = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "crl_sign", "encipher_only", "decipher_only"),
        False,
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer[0].subject if issuer else name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(end - timedelta(days=60))
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(digital_signature=signs, key_cert_sign=authority, **usage), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    if issuer:
        of = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer[1].public_key())
        builder = builder.add_extension(of, critical=False)
    made = builder.sign(issuer[1] if issuer else key, hashes.SHA256())
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    return made
