"""A signature covers every file by name and content, and has a version and a date."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import random
import shutil
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from blake3 import blake3

import zoo
from tests.unit.artefacts.signatures import CURVES, save_model, write_keys
from zoo.artefacts import manifest
from zoo.artefacts.bundle import signed
from zoo.artefacts.keys import read_private_key
from zoo.artefacts.signing import parse_not_before
from zoo.errors import InputError, SignatureError


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that looks like a saved model, which signing doesn't parse."""
    made = tmp_path / "m"
    (made / "deep").mkdir(parents=True)
    for name in ("model.json", "weights.safetensors", ".hidden", ".gitignore", "deep/labels.txt"):
        (made / name).write_text(f"content of {name}")
    return made


@pytest.mark.parametrize("curve", CURVES)
def test_a_signed_folder_is_verified(tmp_path: Path, folder: Path, curve: str) -> None:
    private, public = write_keys(tmp_path, curve=CURVES[curve])
    made = zoo.sign(folder, private)
    found = zoo.verify(folder, public)
    assert found == made
    assert found.files == (".gitignore", ".hidden", "deep/labels.txt", "model.json", "weights.safetensors")
    assert found.signature == folder / "model.sig"
    assert found.version == 1
    assert found.date is not None
    assert abs(datetime.now(UTC) - found.date) < timedelta(minutes=5)
    assert json.dumps(found.to_dict())


def _exchange(folder: Path) -> None:
    (folder / ".hidden").rename(folder / "x")
    (folder / "model.json").rename(folder / ".hidden")
    (folder / "x").rename(folder / "model.json")


def _link(folder: Path) -> None:
    (folder / "model.json").rename(folder.parent / "elsewhere.json")
    (folder / "model.json").symlink_to(folder.parent / "elsewhere.json")


def _pipe(folder: Path) -> None:
    (folder / ".hidden").unlink()
    os.mkfifo(folder / ".hidden")


CHANGES: dict[str, tuple[Callable[[Path], object], tuple[str, ...]]] = {
    "changed": (lambda folder: (folder / "model.json").write_text("other"), ("model.json was changed after signing",)),
    "emptied": (lambda folder: (folder / "model.json").write_text(""), ("model.json was changed after signing",)),
    "hidden file changed": (lambda folder: (folder / ".gitignore").write_text("*"), (".gitignore was changed after signing",)),
    "added": (lambda folder: (folder / "deep/extra").write_text("x"), ("deep/extra was added after signing",)),
    "hidden file added": (lambda folder: (folder / ".git").write_text("x"), (".git was added after signing",)),
    "second signature added": (lambda folder: (folder / "deep/model.sig").write_text("x"), ("deep/model.sig was added after signing",)),
    "removed": (lambda folder: (folder / ".hidden").unlink(), (".hidden is missing",)),
    "renamed": (lambda folder: (folder / ".hidden").rename(folder / "h"), ("h was added after signing", ".hidden is missing")),
    "exchanged": (_exchange, (".hidden was changed after signing", "model.json was changed after signing")),
    "replaced by a link": (_link, ("model.json: it is a link",)),
    "dead link added": (lambda folder: (folder / "new").symlink_to("nowhere"), ("new was added after signing",)),
    "folder linked": (lambda folder: (folder / "new").symlink_to("deep"), ("new was added after signing",)),
    "pipe": (_pipe, (".hidden: it is neither a file nor a folder",)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_is_found_and_named(folder: Path, keys: tuple[Path, Path], change: str) -> None:
    zoo.sign(folder, keys[0])
    make, expected = CHANGES[change]
    make(folder)
    with pytest.raises(SignatureError, match="is not what was signed") as caught:
        zoo.verify(folder, keys[1])
    assert caught.value.findings == expected


def test_many_findings_are_counted(folder: Path, keys: tuple[Path, Path]) -> None:
    zoo.sign(folder, keys[0])
    for number in range(25):
        (folder / f"{number}").write_text("x")
    with pytest.raises(SignatureError, match=r"… and 5 more$") as caught:
        zoo.verify(folder, keys[1])
    assert len(caught.value.findings) == 25


def test_another_key_is_an_unknown_signer(tmp_path: Path, folder: Path, keys: tuple[Path, Path]) -> None:
    zoo.sign(folder, keys[0])
    with pytest.raises(SignatureError, match=r"unknown signer: its key .* is none of: .*other\.pub"):
        zoo.verify(folder, write_keys(tmp_path, "other")[1])


def test_a_changed_statement_is_invalid(folder: Path, keys: tuple[Path, Path]) -> None:
    zoo.sign(folder, keys[0])
    content = json.loads((folder / "model.sig").read_text())
    payload = content["dsseEnvelope"]["payload"]
    content["dsseEnvelope"]["payload"] = payload[:400] + ("A" if payload[400] != "A" else "B") + payload[401:]
    (folder / "model.sig").write_text(json.dumps(content))
    with pytest.raises(SignatureError, match="the signature is invalid"):
        zoo.verify(folder, keys[1])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not a signature of a model"),
        ("[1]", "is not a signature of a model"),
        ("[" * 100_000, "is not a signature of a model"),
        ('{"mediaType": "text/html"}', "the media type is 'text/html'"),
    ],
)
def test_other_files_are_no_signatures(folder: Path, keys: tuple[Path, Path], text: str, message: str) -> None:
    (folder / "model.sig").write_text(text)
    with pytest.raises(SignatureError, match=message):
        zoo.verify(folder, keys[1])
    with pytest.raises(InputError, match="it will not be overwritten: delete it first"):
        zoo.sign(folder, keys[0])
    assert (folder / "model.sig").read_text() == text


def test_an_unsigned_folder_is_named(folder: Path, keys: tuple[Path, Path]) -> None:
    with pytest.raises(SignatureError, match=r"m is not signed: there is no model\.sig"):
        zoo.verify(folder, keys[1])
    with pytest.raises(InputError, match=r"the signature .*no\.sig does not exist"):
        zoo.verify(folder, keys[1], signature=folder / "no.sig")


def test_the_signature_may_be_elsewhere(tmp_path: Path, folder: Path, keys: tuple[Path, Path]) -> None:
    place = tmp_path / "signatures" / "m.sig"
    zoo.sign(folder, keys[0], signature=place)
    assert not (folder / "model.sig").exists()
    assert zoo.verify(folder, keys[1], signature=place).signature == place
    (folder / "model.sig").write_text("unsigned")
    with pytest.raises(SignatureError, match=r"model\.sig was added after signing"):
        zoo.verify(folder, keys[1], signature=place)
    with pytest.raises(InputError, match="is a folder; expected a file"):
        zoo.sign(folder, keys[0], signature=tmp_path)


def test_a_file_is_signed_under_its_name(tmp_path: Path, keys: tuple[Path, Path]) -> None:
    report = tmp_path / "report.html"
    report.write_text("<p>")
    assert zoo.sign(report, keys[0]).signature == tmp_path / "report.html.sig"
    assert zoo.verify(report, keys[1]).files == (".",)
    other = tmp_path / "other.html"
    report.rename(other)
    with pytest.raises(SignatureError, match=r"other\.html was signed under the name report\.html"):
        zoo.verify(other, keys[1], signature=tmp_path / "report.html.sig")
    other.write_text("<b>")
    other.rename(report)
    with pytest.raises(SignatureError, match="was changed after signing"):
        zoo.verify(report, keys[1])


def test_the_model_of_a_run_is_signed(tmp_path: Path, folder: Path, keys: tuple[Path, Path]) -> None:
    run = tmp_path / "run"
    run.mkdir()
    folder.rename(run / "model")
    (run / "history.csv").write_text("epoch")
    assert zoo.sign(run, keys[0]).path == run / "model"
    (run / "history.csv").write_text("changed")
    assert zoo.verify(run, keys[1]).path == run / "model"


def test_folders_that_cannot_be_signed(tmp_path: Path, folder: Path, keys: tuple[Path, Path]) -> None:
    (folder / "link").symlink_to("model.json")
    with pytest.raises(InputError, match="link can't be signed: it is a link; remove it"):
        zoo.sign(folder, keys[0])
    (folder / "link").unlink()
    (folder / "bad\udcff").write_text("x")
    with pytest.raises(InputError, match="its name is not valid UTF-8"):
        zoo.sign(folder, keys[0])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="contains no files; there is nothing to sign"):
        zoo.sign(tmp_path / "empty", keys[0])
    with pytest.raises(InputError, match="nowhere does not exist"):
        zoo.sign(tmp_path / "nowhere", keys[0])
    assert not (folder / "model.sig").exists()


def test_each_signature_has_a_higher_version(folder: Path, keys: tuple[Path, Path]) -> None:
    assert [zoo.sign(folder, keys[0]).version for _ in range(2)] == [1, 2]
    assert zoo.sign(folder, keys[0], version=7).version == 7
    with pytest.raises(InputError, match=r"--version is 7, but the signature .* has the version 7; pass a higher one"):
        zoo.sign(folder, keys[0], version=7)
    assert zoo.verify(folder, keys[1], not_before=7).version == 7
    with pytest.raises(SignatureError, match="rolled back: its version is 7, but --not-before is 8"):
        zoo.verify(folder, keys[1], not_before="8")


def test_an_older_model_with_its_signature_is_refused(tmp_path: Path, folder: Path, keys: tuple[Path, Path]) -> None:
    zoo.sign(folder, keys[0])
    shutil.copytree(folder, tmp_path / "old")
    (folder / "model.json").write_text("new")
    zoo.sign(folder, keys[0])
    shutil.copyfile(tmp_path / "old" / "model.sig", tmp_path / "old.sig")
    with pytest.raises(SignatureError, match=r"model\.json was changed"):  # the older signature alone
        zoo.verify(folder, keys[1], signature=tmp_path / "old.sig")
    assert zoo.verify(tmp_path / "old", keys[1]).version == 1
    with pytest.raises(SignatureError, match="rolled back"):
        zoo.verify(tmp_path / "old", keys[1], not_before=2)


def test_dates_are_compared_in_utc(folder: Path, keys: tuple[Path, Path]) -> None:
    today = zoo.sign(folder, keys[0]).date
    assert today is not None
    assert zoo.verify(folder, keys[1], not_before=today.date())
    assert zoo.verify(folder, keys[1], not_before=today.isoformat())
    with pytest.raises(SignatureError, match="rolled back: its date is"):
        zoo.verify(folder, keys[1], not_before=today + timedelta(days=1))
    assert parse_not_before("2026-11-30") == parse_not_before(date(2026, 11, 30)) == datetime(2026, 11, 30, tzinfo=UTC)
    assert parse_not_before("2026-11-30T12:00:00+02:00") == datetime(2026, 11, 30, 10, tzinfo=UTC)
    with pytest.raises(InputError, match="expected a version such as 3, or a date such as 2026-11-30"):
        parse_not_before("yesterday")


def test_one_way_to_sign_and_to_verify(folder: Path, keys: tuple[Path, Path]) -> None:
    with pytest.raises(InputError, match="expected one way to sign"):
        zoo.sign(folder)
    with pytest.raises(InputError, match="expected one way to sign"):
        zoo.sign(folder, keys[0], sigstore=True)
    with pytest.raises(InputError, match="belong to a private key; pass it as well"):
        zoo.sign(folder, sigstore=True, passphrase="x")
    with pytest.raises(InputError, match="pass the signer's certificate as well"):
        zoo.sign(folder, keys[0], chain=["c.pem"])
    with pytest.raises(InputError, match="expected one way to verify"):
        zoo.verify(folder)
    with pytest.raises(InputError, match="expected one way to verify"):
        zoo.verify(folder, keys[1], certificate_roots=["r.pem"])
    with pytest.raises(InputError, match="--identity and --issuer belong together"):
        zoo.verify(folder, identity="me@example.org")


def test_saving_over_a_signed_model_removes_the_signature(tmp_path: Path, keys: tuple[Path, Path]) -> None:
    folder = save_model(tmp_path / "saved")
    zoo.sign(folder, keys[0])
    save_model(folder, ("c", "d"))
    assert not (folder / "model.sig").exists()


def test_a_signed_folder_may_be_reached_by_a_link(tmp_path: Path, folder: Path, keys: tuple[Path, Path]) -> None:
    zoo.sign(folder, keys[0])
    (tmp_path / "current").symlink_to(folder)
    assert zoo.verify(tmp_path / "current", keys[1]).path == folder


def test_a_missing_package_is_named(folder: Path, keys: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoo.artefacts.keys.find_spec", lambda name: None if name == "blake3" else object())
    with pytest.raises(InputError, match=r"signatures require blake3; install the extra: pip install 'resnet-zoo\[sign\]'"):
        zoo.sign(folder, keys[0])


def test_a_signature_with_unknown_entries_or_loose_bits_is_refused(folder: Path, keys: tuple[Path, Path]) -> None:
    zoo.sign(folder, keys[0])
    text = (folder / "model.sig").read_text()
    (folder / "model.sig").write_text(text.replace("keyid", "keyie"))
    with pytest.raises(SignatureError, match="unknown entry 'keyie'"):
        zoo.verify(folder, keys[1])
    content = json.loads(text)
    content["dsseEnvelope"]["payload"] = base64.b64encode(b"{}").decode()[:-2] + "1="  # e30=
    (folder / "model.sig").write_text(json.dumps(content))
    with pytest.raises(SignatureError, match="the Base64 text isn't canonical"):
        zoo.verify(folder, keys[1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"_type": "other"}, "expected a statement with the predicate"),
        ({"predicate": {"serialization": {"method": "shards"}}}, "the method 'shards' isn't supported"),
        ({"subject": [{"name": "m", "digest": {"sha256": "00"}}]}, "the hash over all files disagrees with their hashes"),
        ({"subject": None}, "the signed statement has another form"),
        ({"twice": True}, "a file is listed twice"),
        ({"fewer": True}, "the two lists of hashes name different files"),
        ({"algorithm": "md5"}, "the hash algorithm 'md5' isn't known"),
    ],
)
def test_statements_of_another_form(folder: Path, keys: tuple[Path, Path], change: dict[str, object], message: str) -> None:
    zoo.sign(folder, keys[0])
    statement = json.loads(base64.b64decode(json.loads((folder / "model.sig").read_text())["dsseEnvelope"]["payload"]))
    resources = statement["predicate"]["resources"]
    if "twice" in change:
        resources.append(resources[0])
    elif "fewer" in change:
        statement["predicate"]["zoo"]["blake3"].popitem()
    elif "algorithm" in change:
        resources[0]["algorithm"] = "md5"
        del statement["predicate"]["zoo"]["blake3"]
    else:
        statement |= change
    (folder / "model.sig").write_text(signed(json.dumps(statement).encode(), read_private_key(keys[0])))
    with pytest.raises(SignatureError, match=message):
        zoo.verify(folder, keys[1])


@pytest.mark.parametrize("size", [0, 1, manifest._CHUNK - 1, manifest._CHUNK, manifest._CHUNK + 1, 3 * manifest._CHUNK + 17])
def test_files_of_several_chunks_have_the_hash_of_their_whole_content(size: int, tmp_path: Path) -> None:
    data = random.Random(size).randbytes(size)
    (tmp_path / "weights").write_bytes(data)
    for algorithm, expected in (("sha256", hashlib.sha256(data)), ("blake3", blake3(data))):
        found, before = manifest._digest(tmp_path / "weights", algorithm)
        assert found == expected.hexdigest()
        assert before == manifest.identity(tmp_path / "weights")
