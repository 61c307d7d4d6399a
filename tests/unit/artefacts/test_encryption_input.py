"""Input of `zoo.encrypt` that is refused: folders, recipients and identities; and a full disk."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

import zoo
from tests.unit.artefacts.encrypted import key, place
from tests.unit.artefacts.signatures import write_keys
from zoo.errors import InputError

__all__ = ["key", "place"]  # fixtures
pytestmark = pytest.mark.usefixtures("one_thread")


def test_folders_that_cannot_be_encrypted(place: Path, tmp_path: Path) -> None:
    public = place / "key.pub"
    folder = Path(shutil.copytree(place / "m", tmp_path / "m"))
    (folder / "link").symlink_to("model.json")
    with pytest.raises(InputError, match="link can't be encrypted: it is a link; remove it"):
        zoo.encrypt(folder, recipients=public)
    (folder / "link").unlink()
    os.mkfifo(folder / "pipe")
    with pytest.raises(InputError, match="pipe can't be encrypted: it is neither a file nor a folder"):
        zoo.encrypt(folder, recipients=public)
    (folder / "pipe").unlink()
    (folder / ("x" * 120)).write_text("")
    with pytest.raises(InputError, match=r"can't be encrypted: .*; shorten its name"):
        zoo.encrypt(folder, recipients=public)
    with pytest.raises(InputError, match=r"none is not the folder of a run or model: Check the path"):
        zoo.encrypt(tmp_path / "none", recipients=public)
    with pytest.raises(InputError, match=r"is not the folder of a run or model: there is no model\.json in it"):
        zoo.encrypt(tmp_path, recipients=public)
    with pytest.raises(InputError, match=r"is in the folder that is encrypted; choose a file elsewhere"):
        zoo.encrypt(place / "m", place / "m" / "x.age", recipients=public)
    with pytest.raises(InputError, match=r"m\.age exists; it will not be overwritten: delete it first"):
        zoo.encrypt(place / "m", recipients=public)
    with pytest.raises(InputError, match="expected one way to encrypt"):
        zoo.encrypt(place / "m", tmp_path / "x.age")
    with pytest.raises(InputError, match="expected one way to encrypt"):
        zoo.encrypt(place / "m", tmp_path / "x.age", recipients=public, passphrase="horse")
    with pytest.raises(InputError, match="the passphrase is empty; expected a long one"):
        zoo.encrypt(place / "m", tmp_path / "x.age", passphrase="")
    assert [path.name for path in tmp_path.iterdir()] == ["m"], "something was written"


def test_the_model_of_a_run_is_encrypted(place: Path, key: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "m", tmp_path / "run" / "model")
    made = zoo.encrypt(f"{tmp_path / 'run'}/", recipients=place / "key.pub")
    assert made.path == tmp_path / "run.age"
    assert zoo.load(made.path, identity=key).classes == ("a", "b")


def test_a_full_disk_leaves_nothing_behind(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("zoo.system.files.os.fsync", full)
    with pytest.raises(InputError, match=r"x\.age can't be written \(No space left on device; it needs .* MB\); check the folder"):
        zoo.encrypt(place / "m", tmp_path / "x.age", recipients=place / "key.pub")
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
    ("recipient", "message"),
    [
        ("age1xyz", "'age1xyz' is not a public key that can be used"),
        ("age1yubikey1qwe", "is not a public key that can be used"),
        ("ssh-ed25519 AAAA", "is not a public key that can be used"),
        ("AGE-SECRET-KEY-1QWE", "a recipient is a private key; expected the public key"),
        ("missing.pub", r"the recipient missing\.pub can't be read: .* It is neither a file nor a public key\. Check the path"),
        ("empty", "empty contains no recipients"),
        ("private", "private, line 3 is a private key"),
        ("signing", "signing, line 1 is a key in PEM format, as zoo sign uses, and can't encrypt"),
        ("binary", "binary is not a text file with keys"),
        ("large", "large is not a text file with keys"),
        (".", r"the recipient \. can't be read: Is a directory"),
    ],
)
def test_recipients_that_cannot_be_used(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recipient: str, message: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").write_text("# a comment\n")
    (tmp_path / "private").write_text((place / "key.txt").read_text())
    (tmp_path / "signing").write_text("-----BEGIN PUBLIC KEY-----\nMFkw\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    (tmp_path / "large").write_text("#" * 2**21)
    with pytest.raises(InputError, match=message) as caught:
        zoo.encrypt(place / "m", tmp_path / "x.age", recipients=recipient)
    assert "AGE-SECRET-KEY" not in str(caught.value)
    assert not (tmp_path / "x.age").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none", "the identity none can't be read: No such file or directory"),
        ("empty", "empty contains no private key; expected AGE-SECRET-KEY-1"),
        ("public", "public, line 1 is a public key, a recipient"),
        ("ssh.pub", r"ssh\.pub, line 1 is a public key, a recipient"),
        ("damaged", "damaged, line 3 is not a private key"),
        ("ssh", r"ssh is not an SSH key that can be used \(ssh key must be decrypted first\); .* ssh-keygen -p"),
        ("ec", "ec is not an SSH key that can be used .*; create one with: age-keygen"),
        ("signing.pem", r"signing\.pem is a key in PEM format, as zoo sign uses, and can't decrypt"),
        ("m.age", r"m\.age is not a text file with keys"),
        ("armoured", "armoured is an encrypted file, not an identity"),
        ("AGE-SECRET-KEY-1QWE", "an identity is passed as its text; expected the path of the file"),
    ],
)
def test_identities_that_cannot_be_used(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, message: str) -> None:
    monkeypatch.chdir(tmp_path)
    text = (place / "key.txt").read_text()
    for file, content in {"empty": "\n", "public": (place / "key.pub").read_text(), "damaged": text[:-3]}.items():
        (tmp_path / file).write_text(content)
    (tmp_path / "armoured").write_text("age-encryption.org/v1\n")
    shutil.copyfile(place / "m.age", tmp_path / "m.age")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "horse", "-f", tmp_path / "ssh"], check=True)
    subprocess.run(["ssh-keygen", "-q", "-t", "ecdsa", "-N", "", "-f", tmp_path / "ec"], check=True)
    write_keys(tmp_path, "signing")
    with pytest.raises(InputError, match=message) as caught:
        zoo.load(place / "m.age", identity=name)
    assert "SECRET-KEY-1Q" not in str(caught.value)
    assert text.split()[-1][:30] not in str(caught.value)
