"""Encrypted models and their keys for tests, and encryption with a passphrase that takes no seconds."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest
import torch
from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from pyrage import x25519

import zoo
from tests.unit.artefacts.signatures import save_model
from zoo.models.model import Model

_CHUNK, _LOG_COST = 64 * 1024, 4  # pyrage chooses 18 or more, which takes a second


def write_identity(path: Path) -> str:
    """Write a new private key to a file, as age-keygen does, and return the public key."""
    identity = x25519.Identity.generate()
    public = str(identity.to_public())
    path.write_text(f"# created: 2026-12-01\n# public key: {public}\n{identity}\n")
    return public


def lock(plain: bytes, passphrase: str) -> bytes:
    """Encrypt with a passphrase, as pyrage does, but with a key derivation of low cost."""
    key, salt, nonce = os.urandom(16), os.urandom(16), os.urandom(16)
    wrapping = Scrypt(b"age-encryption.org/v1/scrypt" + salt, 32, 2**_LOG_COST, 8, 1).derive(passphrase.encode())
    body = ChaCha20Poly1305(wrapping).encrypt(bytes(12), key, None)
    header = f"age-encryption.org/v1\n-> scrypt {_text(salt)} {_LOG_COST}\n{_text(body)}\n---".encode()
    code = hmac.HMAC(_derived(key, b"header"), hashes.SHA256())
    code.update(header)
    cipher = ChaCha20Poly1305(_derived(key, b"payload", nonce))
    starts = range(0, len(plain), _CHUNK)
    sealed = [
        cipher.encrypt(number.to_bytes(11) + bytes([at == starts[-1]]), plain[at : at + _CHUNK], None) for number, at in enumerate(starts)
    ]
    return b"".join([header, f" {_text(code.finalize())}\n".encode(), nonce, *sealed])


def _derived(key: bytes, purpose: bytes, salt: bytes = b"") -> bytes:
    return HKDF(hashes.SHA256(), 32, salt, purpose).derive(key)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode().rstrip("=")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model in `m`, the same encrypted in `m.age`, and the private key in `key.txt`, with the public one in `key.pub`."""
    made = tmp_path_factory.mktemp("encrypted")
    (made / "key.pub").write_text(write_identity(made / "key.txt"))
    save_model(made / "m")
    zoo.encrypt(made / "m", recipients=made / "key.pub")
    return made


@pytest.fixture
def key(place: Path) -> Path:
    return place / "key.txt"


def same(one: Model, other: Model) -> bool:
    theirs = other.state_dict()
    return one.config == other.config and all(torch.equal(value, theirs[name]) for name, value in one.state_dict().items())
