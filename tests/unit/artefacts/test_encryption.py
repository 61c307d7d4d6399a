"""Encrypted models: `zoo.encrypt` and `zoo.load`, agreement with pyrage and tar, and input that is refused."""

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
import torch

import zoo
from tests.unit.artefacts.encrypted import lock, write_identity
from tests.unit.artefacts.signatures import save_model, write_keys
from zoo.artefacts.identities import Keys, current, read_recipients, throughout
from zoo.errors import InputError, SignatureError, WeightsError
from zoo.models.config import read_description
from zoo.models.model import Model

pytestmark = pytest.mark.usefixtures("one_thread")


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
    made = zoo.encrypt(tmp_path / "run", recipients=place / "key.pub")
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
        ("nobody", r"the recipient nobody can't be read: .* It is neither a file nor a public key\. Check the path"),
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
    (tmp_path / "empty").write_text("# nobody\n")
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
