"""Signatures are accepted by OpenSSF's `model_signing` command, and those of the command by the zoo."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("model_signing")
from click.testing import CliRunner
from model_signing._cli import main as upstream

import zoo
from tests.unit.artefacts.signatures import CURVES, issue, write_keys
from zoo.artefacts.keys import read_private_key
from zoo.errors import SignatureError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "m"
    (made / "deep").mkdir(parents=True)
    for name in ("model.json", "weights.safetensors", ".hidden", "deep/empty"):
        (made / name).write_text("" if name == "deep/empty" else f"content of {name}")
    return made


def run(*words: object) -> int:
    return CliRunner().invoke(upstream, [*map(str, words)]).exit_code


@pytest.mark.parametrize("curve", CURVES)
def test_both_accept_signatures_of_the_other(tmp_path: Path, folder: Path, curve: str) -> None:
    private, public = write_keys(tmp_path, curve=CURVES[curve])
    zoo.sign(folder, private, version=3)
    assert run("verify", "key", folder, "--signature", folder / "model.sig", "--public_key", public) == 0
    (folder / "model.json").write_text("changed")
    assert run("verify", "key", folder, "--signature", folder / "model.sig", "--public_key", public) == 1
    assert run("sign", "key", folder, "--signature", folder / "model.sig", "--private_key", private) == 0
    found = zoo.verify(folder, public)
    assert found.files == (".hidden", "deep/empty", "model.json", "weights.safetensors")
    assert (found.version, found.date) == (None, None)
    with pytest.raises(SignatureError, match="contains no version, which --not-before requires"):
        zoo.verify(folder, public, not_before=1)
    (folder / "model.json").write_text("changed again")
    with pytest.raises(SignatureError, match=r"model\.json was changed"):
        zoo.verify(folder, public)


def test_both_accept_certificates_of_the_other(tmp_path: Path, folder: Path) -> None:
    private, _ = write_keys(tmp_path, curve=CURVES["P-384"])
    root, _ = write_keys(tmp_path, "root")
    top = issue(tmp_path / "root.crt", read_private_key(root), authority=True)
    issue(tmp_path / "ann.crt", read_private_key(private), (top, read_private_key(root)))
    zoo.sign(folder, private, certificate=tmp_path / "ann.crt")
    words = ("certificate", folder, "--signature", folder / "model.sig", "--certificate_chain", tmp_path / "root.crt")
    assert run("verify", *words) == 0
    assert run("sign", *words, "--private_key", private, "--signing_certificate", tmp_path / "ann.crt") == 0
    assert zoo.verify(folder, certificate_roots=[tmp_path / "root.crt"]).signer == "CN=ann"


def test_what_the_command_leaves_out_is_reported(tmp_path: Path, folder: Path) -> None:
    private, public = write_keys(tmp_path)
    words = ("sign", "key", folder, "--signature", folder / "model.sig", "--private_key", private)
    assert run(*words, "--ignore-paths", folder / "weights.safetensors") == 0
    with pytest.raises(SignatureError, match=r"weights\.safetensors is excluded from the signature"):
        zoo.verify(folder, public)
    (folder / ".gitattributes").write_text("*.safetensors filter=lfs")  # the zoo doesn't read git's files
    (folder / ".git").mkdir()
    (folder / ".git" / "HEAD").write_text("ref")
    assert run(*words) == 0
    assert ".gitattributes" not in zoo.verify(folder, public).files
    zoo.sign(folder, private)
    assert {".gitattributes", ".git/HEAD"} <= set(zoo.verify(folder, public).files)
    check = ("verify", "key", folder, "--signature", folder / "model.sig", "--public_key", public)
    assert run(*check, "--no-ignore-git-paths") == 0


def test_links_that_the_command_has_followed(tmp_path: Path, folder: Path) -> None:
    private, public = write_keys(tmp_path)
    (folder / "link").symlink_to("model.json")
    words = ("sign", "key", folder, "--signature", folder / "model.sig", "--private_key", private)
    assert run(*words, "--allow_symlinks") == 0
    assert "link" in zoo.verify(folder, public).files
    (folder / "link").unlink()
    (folder / "link").symlink_to("weights.safetensors")
    with pytest.raises(SignatureError, match="link was changed"):
        zoo.verify(folder, public)
    (folder / "link").unlink()
    (folder / "link").symlink_to("nowhere")
    with pytest.raises(SignatureError, match="link: it is a link, but not to a file"):
        zoo.verify(folder, public)


def test_a_single_file(tmp_path: Path) -> None:
    private, public = write_keys(tmp_path)
    report = tmp_path / "report.html"
    report.write_text("<p>")
    zoo.sign(report, private)
    assert run("verify", "key", report, "--signature", tmp_path / "report.html.sig", "--public_key", public) == 0
    assert run("sign", "key", report, "--signature", tmp_path / "report.html.sig", "--private_key", private) == 0
    assert zoo.verify(report, public).files == (".",)


def test_the_command_in_its_own_process(tmp_path: Path, folder: Path) -> None:
    private, public = write_keys(tmp_path)
    words = [sys.executable, "-m", "model_signing", "sign", "key", folder, "--signature", folder / "model.sig", "--private_key", private]
    subprocess.run([*map(str, words)], check=True, capture_output=True, timeout=60)
    assert len(zoo.verify(folder, public).files) == 4
