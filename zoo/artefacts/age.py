"""Decryption of files in the format age v1 (https://age-encryption.org/v1) for X25519 keys.

The package pyrage decrypts files for keys of all kinds, at about 0.3 GB/s. Files for X25519 keys, which are the usual ones, are decrypted
here with the cipher of the package cryptography, at more than 2 GB/s. The file is read chunk by chunk, into one buffer for the plaintext.
"""

from __future__ import annotations

import base64
import contextlib
import mmap
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_MAGIC = b"age-encryption.org/v1\n"
_CHUNK, _TAG, _NONCE = 64 * 2**10, 16, 16
_LARGEST_HEADER, _MOST_LINES, _LONGEST_LINE = 2**20, 1024, 2**14  # limits; the entry of an RSA key has about 12 lines
_BECH32 = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_FILE_KEY = 16
_LARGE = 4 * 2**20


@dataclass(frozen=True)
class Stanza:
    """Entry of the header, which contains the file's key, encrypted for one recipient: its kind, arguments and content."""

    kind: str
    arguments: tuple[str, ...]
    body: bytes


@dataclass(frozen=True)
class Header:
    """Header of a file: its entries, the bytes that the code covers, and the authentication code."""

    stanzas: tuple[Stanza, ...]
    covered: bytes
    code: bytes

    @property
    def needs_passphrase(self) -> bool:
        """Whether the file was encrypted with a passphrase."""
        return any(each.kind == "scrypt" for each in self.stanzas)


def is_age(path: Path) -> bool:
    """Return whether a path is a file in the format age, by its first bytes."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(_MAGIC)) == _MAGIC


def read_header(file: BinaryIO) -> Header:
    """Read the header of an open file, up to the payload. Raise a `ValueError` if it has another form."""
    covered = bytearray(_line(file))
    if covered != _MAGIC:
        raise ValueError("it doesn't begin with the line age-encryption.org/v1")
    stanzas = list[Stanza]()
    while len(covered) < _LARGEST_HEADER:
        line = _line(file)
        if line.startswith(b"--- "):
            return Header(tuple(stanzas), bytes(covered + b"---"), _decoded(line[4:-1]))
        if not line.startswith(b"-> "):
            break
        kind, *arguments = line[3:-1].decode("ascii").split(" ")
        lines = [_line(file)]
        while len(lines[-1]) == 65 and len(lines) < _MOST_LINES:  # lines of the body have 64 characters, except the last one
            lines.append(_line(file))
        covered += line + b"".join(lines)
        stanzas.append(Stanza(kind, tuple(arguments), _decoded(b"".join(each[:-1] for each in lines))))
    raise ValueError("its header is damaged")


def _line(file: BinaryIO) -> bytes:
    line = file.readline(_LONGEST_LINE)
    if not line.endswith(b"\n"):
        raise ValueError("its header is incomplete")
    return line


def _decoded(text: bytes) -> bytes:
    try:
        data = base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)
    except ValueError:
        data = b""
    if base64.b64encode(data).rstrip(b"=") != text:
        raise ValueError("its header contains damaged Base64 text")
    return data


def secret_of(identity: str) -> bytes:
    """Return the 32 bytes of a valid identity AGE-SECRET-KEY-1…, whose checksum was verified before."""
    number = 0
    for letter in identity.lower().removeprefix("age-secret-key-1")[:-6]:
        number = number << 5 | _BECH32.index(letter)
    return (number >> 4).to_bytes(32, "big")  # 52 letters of 5 bits: the last 4 bits are padding


def file_key(header: Header, secrets: Sequence[bytes]) -> bytes | None:
    """Return the key of a file, unwrapped with one of several X25519 keys of 32 bytes; None if none of them belongs to a recipient."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

    keys = [X25519PrivateKey.from_private_bytes(secret) for secret in secrets]
    for stanza in header.stanzas:
        if stanza.kind != "X25519" or len(stanza.arguments) != 1 or len(stanza.body) != _FILE_KEY + _TAG:
            continue
        share = _decoded(stanza.arguments[0].encode())
        for key in keys:
            shared = key.exchange(X25519PublicKey.from_public_bytes(share))  # a ValueError for a share of low order
            wrapping = _derived(shared, share + key.public_key().public_bytes_raw(), b"age-encryption.org/v1/X25519")
            try:
                return ChaCha20Poly1305(wrapping).decrypt(bytes(12), stanza.body, None)
            except InvalidTag:
                continue
    return None


def decrypt(file: BinaryIO, header: Header, key: bytes) -> memoryview:
    """Decrypt the payload of an open file, whose header was read, with the key of the file.

    Raises:
        ValueError: the header or the payload is damaged, or was changed. No part of the plaintext is returned.
    """
    from cryptography.exceptions import InvalidSignature, InvalidTag
    from cryptography.hazmat.primitives import hashes, hmac
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

    code = hmac.HMAC(_derived(key, b"", b"header"), hashes.SHA256())
    code.update(header.covered)
    try:
        code.verify(header.code)
        nonce = file.read(_NONCE)
        count, last = _chunks(os.fstat(file.fileno()).st_size - file.tell())
        cipher = ChaCha20Poly1305(_derived(key, nonce, b"payload"))
        plain, buffer = _memory((count - 1) * _CHUNK + last), bytearray(_CHUNK + _TAG)
        for number in range(count):
            size = last if number == count - 1 else _CHUNK
            part = memoryview(buffer)[: size + _TAG]
            if file.readinto(part) != len(part):  # type: ignore[attr-defined]  # files in binary mode have it
                raise ValueError("it was changed while it was read")
            begin = number * _CHUNK
            plain[begin : begin + size] = cipher.decrypt(number.to_bytes(11, "big") + bytes([number == count - 1]), part, None)
    except (InvalidSignature, InvalidTag) as error:
        raise ValueError("its content doesn't belong to its authentication codes") from error
    return plain


def _memory(size: int) -> memoryview:
    """Return a buffer. On Linux, a large one is in huge pages: the first access to 100 MB takes 25 ms instead of 70."""
    if size < _LARGE or not hasattr(mmap, "MADV_HUGEPAGE"):
        return memoryview(bytearray(size))
    pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with contextlib.suppress(OSError):  # the kernel has no huge pages
        pages.madvise(mmap.MADV_HUGEPAGE)
    return memoryview(pages)


def _chunks(size: int) -> tuple[int, int]:
    """Return the number of chunks in a payload of `size` bytes, and the size of the last one without its tag."""
    count = max(1, -(-size // (_CHUNK + _TAG)))
    last = size - (count - 1) * (_CHUNK + _TAG) - _TAG
    if last < 0 or (last == 0 and count > 1):  # only an empty plaintext has an empty chunk
        raise ValueError("it is truncated")
    return count, last


def _derived(secret: bytes, salt: bytes, purpose: bytes) -> bytes:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return HKDF(hashes.SHA256(), 32, salt or None, purpose).derive(secret)
