"""The format age: the zoo's decryption agrees with pyrage's, and damaged files are refused."""

from __future__ import annotations

import os
import random
import stat
from pathlib import Path

import pyrage
import pytest
from pyrage import x25519

from zoo.artefacts import age
from zoo.artefacts.age import decrypt, file_key, is_age, read_header, secret_of

_CHUNK = 64 * 1024
_HEADER = b"age-encryption.org/v1\n"
IDENTITY = x25519.Identity.generate()
SECRET = secret_of(str(IDENTITY))


def opened(path: Path, secrets: list[bytes] | None = None) -> bytes | None:
    """Decrypt a file with the zoo's functions; None if no key belongs to it."""
    with path.open("rb") as file:
        header = read_header(file)
        key = file_key(header, [SECRET] if secrets is None else secrets)
        return None if key is None else bytes(decrypt(file, header, key))


def sealed(path: Path, plain: bytes, *others: x25519.Identity) -> Path:
    path.write_bytes(pyrage.encrypt(plain, [each.to_public() for each in (*others, IDENTITY)]))
    return path


@pytest.mark.parametrize("size", [0, 1, 511, _CHUNK - 1, _CHUNK, _CHUNK + 1, 2 * _CHUNK, 3 * _CHUNK + 17, 2**22 + 5])
def test_plaintexts_of_all_sizes_are_those_of_pyrage(tmp_path: Path, size: int) -> None:
    plain = random.Random(size).randbytes(size)
    assert opened(sealed(tmp_path / "x", plain)) == plain


def test_any_of_several_recipients_can_decrypt(tmp_path: Path) -> None:
    other, stranger = x25519.Identity.generate(), x25519.Identity.generate()
    file = sealed(tmp_path / "x", b"text", other)
    assert opened(file) == opened(file, [secret_of(str(stranger)), secret_of(str(other))]) == b"text"
    assert opened(file, [secret_of(str(stranger))]) is None
    assert opened(file, []) is None


def test_other_files_are_not_in_this_format(tmp_path: Path) -> None:
    assert is_age(sealed(tmp_path / "x", b""))
    assert not is_age(tmp_path)
    assert not is_age(tmp_path / "none")
    (tmp_path / "short").write_bytes(_HEADER[:-1])
    assert not is_age(tmp_path / "short")
    os.mkfifo(tmp_path / "pipe")
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    assert not is_age(tmp_path / "pipe"), "opening a pipe would wait forever"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"age-encryption.org/v2\n", "doesn't begin with the line"),
        (_HEADER, "header is incomplete"),
        (_HEADER + b"-> X25519 a\nb", "header is incomplete"),
        (_HEADER + b"-> X25519 " + b"a" * 20000 + b"\n", "header is incomplete"),
        (_HEADER + b"hello\n", "header is damaged"),
        (_HEADER + (b"-> " + b"a" * 1000 + b"\n\n") * 2000, "header is damaged"),
        (_HEADER + b"-> grease\n" + (b"A" * 64 + b"\n") * 5000, "header is damaged"),
        (_HEADER + b"-> X25519 YQ\nYQ==\n--- YQ\n", "damaged Base64"),
        (_HEADER + b"-> X25519 YQ\nYR\n--- YQ\n", "damaged Base64"),
        (_HEADER + b"-> X25519 YQ\n????\n--- YQ\n", "damaged Base64"),
    ],
)
def test_damaged_headers_are_errors(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(ValueError, match=message):
        opened(tmp_path / "x")


def test_changed_content_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = random.Random(0).randbytes(3 * _CHUNK + 17)
    whole = sealed(tmp_path / "x", plain).read_bytes()
    other = sealed(tmp_path / "y", plain).read_bytes()  # headers contain entries of random length
    start, others = (data.index(b"\n--- ") + 49 for data in (whole, other))
    payload, step = start + 16, _CHUNK + 16
    chunks = [whole[place : place + step] for place in range(payload, len(whole), step)]
    mac = bytearray(whole)
    mac[start - 10] = ord("A") if mac[start - 10] != ord("A") else ord("B")
    changed = {
        "truncated after a chunk": whole[: payload + step],
        "truncated to the nonce": whole[:payload],
        "truncated nonce": whole[: payload - 3],
        "exchanged": whole[:payload] + b"".join([chunks[1], chunks[0], *chunks[2:]]),
        "repeated": whole[:payload] + b"".join([chunks[0], *chunks]),
        "left out": whole[:payload] + b"".join([chunks[0], *chunks[2:]]),
        "appended": whole + b"x",
        "appended chunk": whole + chunks[-1],
        "flipped": whole[:-1] + bytes([whole[-1] ^ 1]),
        "nonce of another file": whole[:start] + bytes(16) + whole[payload:],
        "key of another file": other[:others] + whole[start:],
        "authentication code": bytes(mac),
    }
    for name, data in changed.items():
        (tmp_path / "z").write_bytes(data)
        with pytest.raises(ValueError, match=r"truncated|authentication codes"):
            opened(tmp_path / "z")
        with pytest.raises(pyrage.DecryptError):
            pyrage.decrypt(data, [IDENTITY])
        assert name
    monkeypatch.setattr(age, "_chunks", lambda size: (9, 5))
    with pytest.raises(ValueError, match="changed while it was read"):
        opened(tmp_path / "x")


def test_a_share_of_low_order_is_refused(tmp_path: Path) -> None:
    zeros = "A" * 43
    (tmp_path / "x").write_text(f"{_HEADER.decode()}-> X25519 {zeros}\n{zeros}\n--- {zeros}\n")
    with pytest.raises(ValueError, match="shared key"):
        opened(tmp_path / "x")
