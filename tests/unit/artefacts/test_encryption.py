"""Encrypted models: `zoo.encrypt` and `zoo.load` with keys of all kinds, signatures, and what may not be written."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

import zoo
from tests.unit.artefacts.encrypted import key, lock, place, same, write_identity
from tests.unit.artefacts.signatures import write_keys
from zoo.artefacts.identities import Keys, current, throughout
from zoo.errors import InputError, SignatureError
from zoo.models.config import read_description

__all__ = ["key", "place"]  # fixtures
pytestmark = pytest.mark.usefixtures("one_thread")


def test_an_encrypted_model_is_loaded_as_it_was(place: Path, key: Path) -> None:
    model = zoo.load(place / "m.age", identity=key)
    assert same(model, zoo.load(place / "m"))
    assert model.encrypted
    assert not zoo.load(place / "m").encrypted
    assert not model.training
    assert zoo.load(place / "m.age", identity=[key], score_threshold=None).metadata == model.metadata


def test_several_recipients_of_different_kinds(place: Path, tmp_path: Path) -> None:
    for name, kind in {"ed": "ed25519", "rsa": "rsa"}.items():
        subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", tmp_path / name], check=True)
    others = write_identity(tmp_path / "a.txt"), write_identity(tmp_path / "b.txt")
    (tmp_path / "team").write_text(f"# our team\n\n{others[0]}\n{(tmp_path / 'ed.pub').read_text()}")
    ssh = (tmp_path / "rsa.pub").read_text()
    made = zoo.encrypt(place / "m", tmp_path / "x.age", recipients=[tmp_path / "team", others[1], ssh])
    assert made.files == ("model.json", "weights.safetensors")
    assert made.to_dict() == {"path": str(tmp_path / "x.age"), "folder": str(place / "m"), "files": list(made.files)}
    plain = zoo.load(place / "m")
    for name in ("a.txt", "b.txt", "ed", "rsa"):
        assert same(zoo.load(made.path, identity=tmp_path / name), plain), name
    with pytest.raises(InputError, match=r"x\.age is encrypted for other recipients than .*key\.txt: pass the private key of one of them"):
        zoo.load(made.path, identity=place / "key.txt")


@pytest.fixture(scope="module")
def locked(place: Path) -> Path:
    """The model, encrypted with a passphrase."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pyrage.passphrase.encrypt", lock)
        return zoo.encrypt(place / "m", place / "locked.age", passphrase="horse").path


@pytest.mark.slow
def test_a_key_is_derived_from_a_passphrase_at_high_cost(place: Path, tmp_path: Path) -> None:
    """The other tests derive keys at a low cost, which takes no seconds."""
    made = zoo.encrypt(place / "m", tmp_path / "x.age", passphrase="horse").path
    entry = made.read_bytes().splitlines()[1].split()
    assert entry[:2] == [b"->", b"scrypt"]
    assert int(entry[3]) >= 15, "the binary logarithm of the cost, which pyrage chooses for about a second on this machine"


def test_a_passphrase_takes_the_place_of_recipients(place: Path, key: Path, locked: Path) -> None:
    assert same(zoo.load(locked, passphrase="horse"), zoo.load(place / "m"))
    with pytest.raises(InputError, match=r"locked\.age can't be decrypted \(Decryption failed\): the passphrase is wrong, or the file is"):
        zoo.load(locked, passphrase="cow")
    with pytest.raises(InputError, match=r"is encrypted with a passphrase; .*key\.txt can't decrypt it: pass it with --passphrase-file"):
        zoo.load(locked, identity=key)
    with pytest.raises(InputError, match=r"is encrypted for recipients, not with a passphrase: pass the file of your private key"):
        zoo.load(place / "m.age", passphrase="horse")
    with pytest.raises(InputError, match=r"m\.age is encrypted for recipients: pass the file of your private key with --identity"):
        zoo.load(place / "m.age")
    with pytest.raises(InputError, match="the passphrase is empty; expected the passphrase of an encrypted model"):
        zoo.load(locked, passphrase="")


def test_a_key_derivation_that_would_take_hours_is_refused(locked: Path, tmp_path: Path) -> None:
    data = locked.read_bytes()
    (tmp_path / "x.age").write_bytes(data.replace(b" 4\n", b" 60\n", 1))
    with pytest.raises(InputError, match=r"x\.age can't be decrypted \(Excessive work parameter for passphrase\.\)"):
        zoo.load(tmp_path / "x.age", passphrase="horse")


def test_a_damaged_file_for_an_ssh_key_is_refused(place: Path, tmp_path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key"], check=True)
    file = zoo.encrypt(place / "m", tmp_path / "x.age", recipients=(tmp_path / "key.pub").read_text()).path
    os.truncate(file, file.stat().st_size - 1)
    with pytest.raises(
        InputError, match=r"x\.age can't be decrypted \(.*\): the file is damaged or was changed, and nothing in it was loaded"
    ):
        zoo.load(file, identity=tmp_path / "key")


def test_keys_for_a_model_that_is_not_encrypted(place: Path, key: Path) -> None:
    with pytest.raises(InputError, match=r"m is not encrypted; omit the identity"):
        zoo.load(place / "m", identity=key)
    with pytest.raises(InputError, match="hf:me/mine is not encrypted; omit the identity"):
        zoo.load("hf:me/mine", identity=key)


def test_files_that_are_no_longer_recognised(tmp_path: Path, key: Path) -> None:
    (tmp_path / "x.age").write_bytes(b"Age-encryption.org/v1\n")
    with pytest.raises(InputError, match=r"x\.age is damaged, or isn't an encrypted model"):
        zoo.load(tmp_path / "x.age", identity=key)
    (tmp_path / "x.age").write_bytes(b"age-encryption.org/v1\n")
    with pytest.raises(InputError, match=r"x\.age can't be decrypted: its header is incomplete; the file is damaged or was changed"):
        zoo.load(tmp_path / "x.age", identity=key)


def test_without_the_packages_the_extra_is_named(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoo.artefacts.identities._PACKAGES", ("cryptography", "no_such_package"))
    with pytest.raises(
        InputError, match=r"encrypted models require no_such_package; install the extra: pip install 'resnet-zoo\[encrypt\]'"
    ):
        zoo.load(place / "m.age", identity=place / "key.txt")


def test_a_signed_model_is_verified_in_memory(place: Path, key: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    private, public = write_keys(tmp_path)
    (tmp_path / "trusted").mkdir()
    public.rename(tmp_path / "trusted" / "key.pub")
    trusted: dict[str, Any] = {"identity": key, "trusted_keys": tmp_path / "trusted"}
    with pytest.raises(
        SignatureError, match=r"m\.age is refused by --trust enforce: .*there is no model\.sig in it; sign the folder before"
    ):
        zoo.load(place / "m.age", trust="enforce", **trusted)
    folder = Path(shutil.copytree(place / "m", tmp_path / "m"))
    (folder / ".gitignore").write_text("*")
    zoo.sign(folder, private)

    def sealed(name: str) -> Path:
        return zoo.encrypt(folder, tmp_path / name, recipients=place / "key.pub").path

    with pytest.raises(InputError, match=r"signed\.age is encrypted\. The signature of the model is in it: verify it with zoo info"):
        zoo.verify(sealed("signed.age"), tmp_path / "trusted" / "key.pub")
    assert zoo.load(tmp_path / "signed.age", trust="enforce", not_before=1, **trusted).classes == ("a", "b")
    with pytest.raises(SignatureError, match="rolled back: its version is 1, but --not-before is 2"):
        zoo.load(tmp_path / "signed.age", trust="enforce", not_before=2, **trusted)
    (folder / "model.json").write_text((folder / "model.json").read_text().replace('"a"', '"c"'))
    (folder / "extra").write_text("x")
    (folder / ".gitignore").unlink()
    with pytest.raises(SignatureError, match="is not what was signed") as caught:
        zoo.load(sealed("changed.age"), trust="enforce", **trusted)
    assert caught.value.findings == ("extra was added after signing", "model.json was changed after signing", ".gitignore is missing")
    zoo.load(tmp_path / "changed.age", trust="warn", **trusted)
    assert "changed.age is not trusted: " in caplog.text
    statement = json.loads((folder / "model.sig").read_text())
    statement["dsseEnvelope"]["signatures"][0]["sig"] = "YQ=="
    (folder / "model.sig").write_text(json.dumps(statement))
    with pytest.raises(SignatureError, match="the signature is invalid"):
        zoo.load(sealed("invalid.age"), trust="enforce", **trusted)


def test_a_model_whose_description_was_read_is_decrypted_once(place: Path, key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from zoo.artefacts import age

    opened: list[int] = []
    original = age.decrypt

    def counted(*arguments: Any) -> memoryview:
        opened.append(1)
        return original(*arguments)

    monkeypatch.setattr(age, "decrypt", counted)
    keys = Keys.read(key)
    with throughout(keys):
        assert read_description(place / "m.age")[0].classes == ("a", "b")
        zoo.load(place / "m.age")
        assert (len(opened), keys.kept) == (1, None), "the plaintext is kept no longer than necessary"
        zoo.load(place / "m.age")
        assert len(opened) == 2
    assert current().identities == ()
    assert zoo.load(place / "m.age", identity=key).classes == ("a", "b")


def test_weights_of_an_encrypted_model_are_not_written(place: Path, key: Path, tmp_path: Path) -> None:
    model = zoo.load(place / "m.age", identity=key)
    with pytest.raises(
        InputError, match="an encrypted model can't be saved or exported, since that writes its weights to the disk; decrypt"
    ):
        zoo.save(model, tmp_path / "x")
    with pytest.raises(InputError, match="can't be saved or exported"):
        zoo.export(model, tmp_path / "x", "torch")
    with pytest.raises(InputError, match="an encrypted model can't be trained, since checkpoints and cached features are written"):
        zoo.train(model, "demo:digits?limit=4", out=tmp_path / "x")
    with pytest.raises(
        InputError, match=r"m\.age is encrypted, and zoo tune changes the model\.json of a folder\. Decrypt it first: age -d"
    ):
        zoo.tune(place / "m.age", "demo:digits?limit=4")
    with pytest.raises(InputError, match="is encrypted, and a model card shows its classes and data unencrypted"):
        zoo.card(place / "m.age")
    with pytest.raises(InputError, match="is encrypted, and zoo push publishes models unencrypted"):
        zoo.push(place / "m.age", "hf:me/mine")
    with pytest.raises(InputError, match="its weights can't initialise another model"):
        zoo.build("test_resnet", classes=["a", "b"], weights=place / "m.age")
    with pytest.raises(InputError, match="can't be saved or exported"):
        zoo.save(zoo.split(zoo.add_task(model, "other", "classification", num_classes=2), "other"), tmp_path / "x")
    assert not [*tmp_path.iterdir()]
