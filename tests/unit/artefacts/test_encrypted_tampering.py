"""Encrypted models that were tampered with at random are refused, and no part of their plaintext is used."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import zoo
from tests.unit.artefacts.encrypted import write_identity
from tests.unit.artefacts.signatures import save_model
from zoo.artefacts import encryption
from zoo.errors import InputError

_COUNT = int(os.environ.get("ZOO_MUTATIONS", "120"))  # before a release: ZOO_MUTATIONS=1000
_CHUNK = 64 * 1024 + 16


class Sealed:
    """An encrypted model of several chunks, another one for the same recipients, and one for a recipient more."""

    def __init__(self, place: Path, kind: str) -> None:
        self.key, self.file = place / "key.txt", place / "tampered.age"
        public, other = write_identity(self.key), write_identity(place / "other.txt")
        if kind == "ssh":  # decrypted by pyrage
            self.key.unlink()
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.key], check=True)
            public = self.key.with_name("key.txt.pub").read_text()
        folder = save_model(place / "m")
        (folder / "notes.bin").write_bytes(random.Random(0).randbytes(3 * _CHUNK))
        self.whole, self.second = (zoo.encrypt(folder, place / name, recipients=public).path.read_bytes() for name in ("1.age", "2.age"))
        self.shared = zoo.encrypt(folder, place / "3.age", recipients=[other, public]).path.read_bytes()

    @property
    def start(self) -> int:
        """Position of the payload, after the header."""
        return payload(self.whole)

    def chunks(self) -> list[bytes]:
        first = self.start + 16
        return [self.whole[place : place + _CHUNK] for place in range(first, len(self.whole), _CHUNK)]

    def joined(self, chunks: list[bytes]) -> bytes:
        return self.whole[: self.start + 16] + b"".join(chunks)


def payload(data: bytes) -> int:
    return data.index(b"\n", data.index(b"\n--- ") + 1) + 1


def flip(sealed: Sealed, chance: random.Random) -> bytes:
    data = bytearray(sealed.whole)
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(data)


def flip_header(sealed: Sealed, chance: random.Random) -> bytes:
    data = bytearray(sealed.whole)
    data[chance.randrange(sealed.start + 16)] ^= 1 << chance.randrange(8)
    return bytes(data)


def overwrite(sealed: Sealed, chance: random.Random) -> bytes:
    place, size = chance.randrange(len(sealed.whole)), chance.randrange(1, 500)
    return sealed.whole[:place] + chance.randbytes(size) + sealed.whole[place + size :]


def truncate(sealed: Sealed, chance: random.Random) -> bytes:
    return sealed.whole[: chance.randrange(len(sealed.whole))]


def truncate_to_chunks(sealed: Sealed, chance: random.Random) -> bytes:
    chunks = sealed.chunks()
    return sealed.joined(chunks[: chance.randrange(len(chunks))])


def append(sealed: Sealed, chance: random.Random) -> bytes:
    return sealed.whole + (chance.choice(sealed.chunks()) if chance.random() < 0.3 else chance.randbytes(chance.randrange(1, 200)))


def insert(sealed: Sealed, chance: random.Random) -> bytes:
    place = chance.randrange(len(sealed.whole))
    return sealed.whole[:place] + chance.randbytes(chance.randrange(1, 50)) + sealed.whole[place:]


def cut_out(sealed: Sealed, chance: random.Random) -> bytes:
    place = chance.randrange(len(sealed.whole))
    return sealed.whole[:place] + sealed.whole[place + chance.randrange(1, 300) :]


def exchange_chunks(sealed: Sealed, chance: random.Random) -> bytes:
    chunks = sealed.chunks()
    one, other = chance.sample(range(len(chunks)), 2)
    chunks[one], chunks[other] = chunks[other], chunks[one]
    return sealed.joined(chunks)


def repeat_or_omit_a_chunk(sealed: Sealed, chance: random.Random) -> bytes:
    chunks = sealed.chunks()
    place = chance.randrange(len(chunks))
    return sealed.joined(chunks[:place] + [chunks[place]] * chance.choice((0, 2)) + chunks[place + 1 :])


def chunk_of_another(sealed: Sealed, chance: random.Random) -> bytes:
    chunks, place = sealed.chunks(), chance.randrange(3)
    begin = payload(sealed.second) + 16 + place * _CHUNK
    return sealed.joined([*chunks[:place], sealed.second[begin : begin + _CHUNK], *chunks[place + 1 :]])


def header_of_another(sealed: Sealed, chance: random.Random) -> bytes:
    other = chance.choice((sealed.second, sealed.shared))
    return other[: payload(other)] + sealed.whole[sealed.start :]


def entry_of_another(sealed: Sealed, chance: random.Random) -> bytes:
    """Add the entry of a recipient to the header, or replace the entry by that of another file."""
    other = sealed.shared
    entry = other[other.index(b"->") : other.index(b"\n->", 30) + 1]
    begin = sealed.whole.index(b"->")
    end = begin if chance.random() < 0.5 else sealed.whole.index(b"\n--- ") + 1
    return sealed.whole[:begin] + entry + sealed.whole[end:]


def lines(sealed: Sealed, chance: random.Random) -> bytes:
    """Change the form of the header, but not its values."""
    header = sealed.whole[: sealed.start]
    changes = (
        (b"\n", b"\r\n"), (b"-> ", b"->  "), (b"\n--- ", b"\n---  "), (b"\n--- ", b"=\n--- "), (b" X25519 ", b" x25519 "),
        (b"ssh-ed25519", b"ssh-ed25518"),
    )  # fmt: skip
    return header.replace(*chance.choice([each for each in changes if each[0] in header])) + sealed.whole[sealed.start :]


TAMPERINGS: tuple[Callable[[Sealed, random.Random], bytes], ...] = (
    flip, flip, flip_header, overwrite, truncate, truncate_to_chunks, append, insert, cut_out, exchange_chunks, repeat_or_omit_a_chunk,
    chunk_of_another, header_of_another, entry_of_another, lines,
)  # fmt: skip


@pytest.mark.parametrize(("kind", "count"), [("x25519", _COUNT), ("ssh", _COUNT // 3)])
def test_models_that_were_tampered_with_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, count: int) -> None:
    sealed = Sealed(tmp_path, kind)
    sealed.file.write_bytes(sealed.whole)
    assert zoo.load(sealed.file, identity=sealed.key).classes == ("a", "b")
    before = sorted(tmp_path.rglob("*"))

    def unpacked(*_: object) -> None:
        raise AssertionError("decrypted")

    monkeypatch.setattr(encryption, "_unpacked", unpacked)
    with pytest.raises(AssertionError, match="decrypted"):  # what would be called with a plaintext
        zoo.load(sealed.file, identity=sealed.key)
    accepted = []
    for seed in range(count):
        chance, tamper = random.Random(seed), TAMPERINGS[seed % len(TAMPERINGS)]
        data = tamper(sealed, chance)
        assert data != sealed.whole, f"{seed}: {tamper.__name__}"
        sealed.file.write_bytes(data)
        try:
            zoo.load(sealed.file, identity=sealed.key)
        except InputError:
            continue
        except AssertionError as error:
            accepted.append(f"{seed}: {tamper.__name__}: {error}")
    assert not accepted, "\n".join(accepted)
    assert sorted(tmp_path.rglob("*")) == before
