"""The content of encrypted models: agreement with pyrage and tar, and archives and weights that are refused."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyrage
import pytest

import zoo
from tests.unit.artefacts.encrypted import key, place, same
from zoo.artefacts.identities import read_recipients
from zoo.errors import InputError, WeightsError

__all__ = ["key", "place"]  # fixtures
pytestmark = pytest.mark.usefixtures("one_thread")


def test_age_and_tar_read_what_the_zoo_writes(place: Path, key: Path) -> None:
    secret = key.read_text().split()[-1]
    plain = pyrage.decrypt((place / "m.age").read_bytes(), [pyrage.x25519.Identity.from_str(secret)])
    with tarfile.open(fileobj=io.BytesIO(plain)) as archive:
        assert [entry.name for entry in archive] == ["model.json", "weights.safetensors"]
        for entry in archive:
            content = archive.extractfile(entry)
            assert content is not None
            assert content.read() == (place / "m" / entry.name).read_bytes()
            assert (entry.mtime, entry.uid, entry.mode) == (0, 0, 0o644)


def test_the_zoo_reads_what_age_and_tar_write(place: Path, key: Path, tmp_path: Path) -> None:
    names = sorted(os.listdir(place / "m"))
    plain = subprocess.run(["tar", "c", "-C", place / "m", *names], check=True, capture_output=True).stdout
    assert same(zoo.load(seal(tmp_path, plain, place), identity=key), zoo.load(place / "m"))


def seal(folder: Path, plain: bytes, place: Path) -> Path:
    """Encrypt an archive with pyrage."""
    (folder / "x.age").write_bytes(pyrage.encrypt(plain, read_recipients([place / "key.pub"])))
    return folder / "x.age"


def archive(*entries: tuple[str, bytes, bytes], end: bytes = bytes(1024)) -> bytes:
    """Return an archive of a model.json and further entries: names, types and contents."""
    parts = []
    for name, kind, data in (("model.json", tarfile.REGTYPE, b"{}"), *entries):
        entry = tarfile.TarInfo(name)
        entry.size, entry.type, entry.linkname = len(data), kind, "model.json"
        parts += [entry.tobuf(tarfile.USTAR_FORMAT), data, bytes(-len(data) % 512)]
    return b"".join(parts) + end


@pytest.mark.parametrize(
    ("plain", "message"),
    [
        (b"", "is incomplete"),
        (b"PK" * 300, "invalid header"),
        (bytes(1024), r"no model\.json in it"),
        (archive(end=b""), "is incomplete"),
        (archive(end=bytes(512)), "is incomplete"),
        (archive(end=bytes(1024) + b"x"), "continues after its end"),
        (archive()[:-1500], "truncated header|is incomplete"),
        (archive(("a", tarfile.REGTYPE, b"x" * 600))[:-1600], "is incomplete"),
        (archive(("a", tarfile.SYMTYPE, b"")), "'a' is not a file"),
        (archive(("a", tarfile.LNKTYPE, b"")), "'a' is not a file"),
        (archive(("a", tarfile.DIRTYPE, b"")), "'a' is not a file"),
        (archive(("a", tarfile.FIFOTYPE, b"")), "'a' is not a file"),
        (archive(("a", tarfile.CHRTYPE, b"")), "'a' is not a file"),
        (archive(("a", tarfile.XHDTYPE, b"")), "'a' is not a file"),
        (archive(("/etc/passwd", tarfile.REGTYPE, b"x")), "is not a plain relative path"),
        (archive(("../x", tarfile.REGTYPE, b"x")), "is not a plain relative path"),
        (archive(("a/../../x", tarfile.REGTYPE, b"x")), "is not a plain relative path"),
        (archive(("./x", tarfile.REGTYPE, b"x")), "is not a plain relative path"),
        (archive(("model.json", tarfile.REGTYPE, b"{}")), r"'model\.json' occurs twice"),
        (archive(("bad\udcff", tarfile.REGTYPE, b"x")), "codec can't decode"),
    ],
)
def test_other_archives_are_refused(place: Path, key: Path, tmp_path: Path, plain: bytes, message: str) -> None:
    with pytest.raises(InputError, match=rf"is not a model that was encrypted with zoo encrypt: .*({message})"):
        zoo.load(seal(tmp_path, plain, place), identity=key)


def test_a_negative_size_is_refused(place: Path, key: Path, tmp_path: Path) -> None:
    block = bytearray(archive(("a", tarfile.REGTYPE, b""))[1024:1536])
    block[124:136] = b"\xff" * 12  # -1 in the base of 256
    block[148:156] = f"{sum(block[:148]) + 8 * 32 + sum(block[156:]):06o}\0 ".encode()
    with pytest.raises(InputError, match="'a' is not a file"):
        zoo.load(seal(tmp_path, archive()[:1024] + block + bytes(1024), place), identity=key)


def _weights(change: Callable[[dict[str, Any]], object]) -> Callable[[bytes], bytes]:
    def changed(data: bytes) -> bytes:
        size = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + size])
        change(header)
        text = json.dumps(header).encode()
        return len(text).to_bytes(8, "little") + text + data[8 + size :]

    return changed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: b"", "JSONDecodeError"),
        (lambda data: b"\xff" * 20, "Error"),
        (lambda data: data[:-4], "is not at"),
        (_weights(lambda header: header["_mean" if "_mean" in header else next(reversed(header))].update(dtype="X")), "KeyError: 'X'"),
        (_weights(lambda header: header[next(reversed(header))].update(data_offsets=[-4, 0])), "is not at"),
        (_weights(lambda header: header[next(reversed(header))].update(shape=[-1, 2])), "is not at"),
        (_weights(lambda header: header.update(x=3)), "TypeError"),
    ],
)
def test_damaged_weights_are_named(place: Path, key: Path, tmp_path: Path, change: Callable[[bytes], bytes], message: str) -> None:
    folder = Path(shutil.copytree(place / "m", tmp_path / "m"))
    weights = folder / "weights.safetensors"
    weights.write_bytes(change(weights.read_bytes()))
    file = zoo.encrypt(folder, recipients=place / "key.pub").path
    with pytest.raises(WeightsError, match=rf"m\.age/weights\.safetensors: the file is not a readable safetensors file .*{message}"):
        zoo.load(file, identity=key)
    weights.unlink()
    file.unlink()
    zoo.encrypt(folder, recipients=place / "key.pub")
    with pytest.raises(WeightsError, match=r"weights\.safetensors: the file does not exist in the encrypted model"):
        zoo.load(file, identity=key)
