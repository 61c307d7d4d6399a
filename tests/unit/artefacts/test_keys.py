"""Keys of another kind, encrypted keys and their passphrases."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from tests.unit.artefacts.signatures import issue, write_keys, write_private, write_public
from zoo.artefacts import keys
from zoo.errors import InputError


def test_keys_of_other_kinds_are_named(tmp_path: Path) -> None:
    for name, key in {"RSA": rsa.generate_private_key(65537, 1024), "Ed25519": ed25519.Ed25519PrivateKey.generate()}.items():
        with pytest.raises(InputError, match=f"contains a key of the kind {name}; expected an elliptic-curve key on P-256"):
            keys.read_private_key(write_private(tmp_path / "k", key))
        with pytest.raises(InputError, match=f"contains a key of the kind {name}"):
            keys.read_public_key(write_public(tmp_path / "k", key))
    other = ec.generate_private_key(ec.SECP256K1())
    with pytest.raises(InputError, match="is on the curve secp256k1; expected P-256, P-384 or P-521"):
        keys.read_private_key(write_private(tmp_path / "k", other))
    with pytest.raises(InputError, match="is on the curve secp256k1"):
        keys.read_public_key(write_public(tmp_path / "k", other))


def test_files_without_the_right_key_are_named(tmp_path: Path) -> None:
    private, public = write_keys(tmp_path)
    certificate = tmp_path / "c.pem"
    issue(certificate, ec.generate_private_key(ec.SECP256R1()))
    with pytest.raises(InputError, match="contains a public key; expected a private key"):
        keys.read_private_key(public)
    with pytest.raises(InputError, match="contains a certificate; expected a private key"):
        keys.read_private_key(certificate)
    with pytest.raises(InputError, match="contains a private key; expected a public key"):
        keys.read_public_key(private)
    with pytest.raises(InputError, match=r"contains a certificate; expected a public key.*pass --certificate-roots"):
        keys.read_public_key(certificate)
    with pytest.raises(InputError, match="contains no readable certificate"):
        keys.read_certificates(public)
    (tmp_path / "text").write_text("hello")
    with pytest.raises(InputError, match="contains no key; expected a private key"):
        keys.read_private_key(tmp_path / "text")
    (tmp_path / "text").write_text("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    with pytest.raises(InputError, match="is not a readable private key"):
        keys.read_private_key(tmp_path / "text")
    (tmp_path / "text").write_text("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n")
    with pytest.raises(InputError, match="is not a readable public key"):
        keys.read_public_key(tmp_path / "text")
    (tmp_path / "text").write_bytes(bytes(2**20 + 1))
    with pytest.raises(InputError, match="is larger than 1048576 bytes"):
        keys.read_public_key(tmp_path / "text")
    with pytest.raises(InputError, match=r"the private key .*none can't be read: No such file or directory\. Check the path"):
        keys.read_private_key(tmp_path / "none")


def test_encrypted_keys_need_their_passphrase(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP384R1())
    locked, plain = write_private(tmp_path / "locked", key, "horse"), write_private(tmp_path / "plain", key)
    assert keys.read_private_key(locked, "horse").private_numbers() == key.private_numbers()
    with pytest.raises(InputError, match="is encrypted; pass its passphrase"):
        keys.read_private_key(locked)
    with pytest.raises(InputError, match="can't be decrypted: the passphrase is wrong"):
        keys.read_private_key(locked, "donkey")
    with pytest.raises(InputError, match="isn't encrypted; omit the passphrase"):
        keys.read_private_key(plain, "horse")


def test_the_passphrase_is_asked_for_at_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    locked = write_private(tmp_path / "locked", ec.generate_private_key(ec.SECP256R1()), "horse")

    class Terminal:
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("sys.stdin", Terminal())
    monkeypatch.setattr("getpass.getpass", lambda prompt: prompt)
    assert keys.ask_passphrase(locked) == f"passphrase of {locked}: "
    assert keys.ask_passphrase(write_keys(tmp_path)[0]) is None
    assert keys.ask_passphrase(tmp_path / "none") is None


def test_passphrases_are_read_from_files_and_descriptors(tmp_path: Path) -> None:
    file = tmp_path / "p"
    file.write_text("correct horse\nsecond line\n")
    assert keys.read_passphrase(file, None) == "correct horse"
    assert keys.read_passphrase(None, None) is None
    descriptor = os.open(file, os.O_RDONLY)
    try:
        assert keys.read_passphrase(None, descriptor) == "correct horse"
    finally:
        os.close(descriptor)
    with pytest.raises(InputError, match=r"--passphrase-fd .* can't be read: Bad file descriptor"):
        keys.read_passphrase(None, descriptor)
    with pytest.raises(InputError, match="can't be combined"):
        keys.read_passphrase(file, 0)
    file.write_text("\n")
    with pytest.raises(InputError, match=r"--passphrase-file .* is empty"):
        keys.read_passphrase(file, None)
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="is not UTF-8 text"):
        keys.read_passphrase(file, None)


def test_folders_of_trusted_keys(tmp_path: Path) -> None:
    write_keys(tmp_path / "keys", "ann")
    (tmp_path / "keys" / "ann.pem").rename(tmp_path / "ann.pem")
    (tmp_path / "keys" / ".hidden").write_text("ignored")
    assert [name for name, _ in keys.trusted_keys(tmp_path / "keys").values()] == ["ann.pub"]
    (tmp_path / "ann.pem").rename(tmp_path / "keys" / "ann.pem")
    with pytest.raises(InputError, match=r"ann\.pem contains a private key"):
        keys.trusted_keys(tmp_path / "keys")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"--trusted-keys .* is empty"):
        keys.trusted_keys(tmp_path / "empty")
    with pytest.raises(InputError, match=r"--trusted-keys .* is not a folder"):
        keys.trusted_keys(tmp_path / "none")
