"""`zoo sign` and `zoo verify`: output, exit statuses, and galleries."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import zoo
from tests.unit.artefacts.signatures import CURVES, save_model, write_keys, write_private
from zoo.artefacts.keys import read_private_key
from zoo.cli.main import main
from zoo.models.archive import save
from zoo.models.builder import build
from zoo.tasks.face.gallery import Embedder

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Any:
    def run(*words: object) -> tuple[int, str, str]:
        status = main([*map(str, words)])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


def test_a_model_is_signed_and_verified(command: Any, tmp_path: Path) -> None:
    private, public = write_keys(tmp_path)
    model = save_model(tmp_path / "m")
    status, out, _ = command("sign", model, "--key", private)
    assert (status, out) == (0, f"signed {model}: 2 files, version 1; signature: {model / 'model.sig'}\n")
    status, out, _ = command("verify", model, "--key", public)
    assert status == 0
    assert out.splitlines()[0] == f"verified {model}"
    assert "files: model.json, weights.safetensors" in out
    status, out, _ = command("verify", model, "--key", public, "--json")
    content = json.loads(out)
    assert (status, content["verified"], content["version"], content["findings"]) == (0, True, 1, [])
    (model / "model.json").rename(model / "config.json")
    status, out, err = command("verify", model, "--key", public)
    assert (status, out) == (1, "")
    assert "config.json was added after signing; model.json is missing" in err
    status, out, err = command("verify", model, "--key", public, "--json")
    assert (status, err) == (1, "")
    assert json.loads(out)["findings"] == ["config.json was added after signing", "model.json is missing"]


@pytest.mark.slow
def test_an_exported_model_is_signed(command: Any, tmp_path: Path) -> None:
    private, public = write_keys(tmp_path)
    exported = tmp_path / "exported"
    zoo.export(zoo.load(save_model(tmp_path / "m")), exported, "torch")
    assert command("sign", exported, "--key", private)[0] == 0
    (tmp_path / "trusted").mkdir()
    public.rename(tmp_path / "trusted" / "key.pub")
    images = np.zeros((1, 32, 32, 3), np.uint8)
    model = zoo.load(exported, trust="enforce", trusted_keys=tmp_path / "trusted")
    assert len(list(zoo.predict(model, list(images)))) == 1
    graph = next(exported.glob("*.pt2"))
    again = zoo.load(exported, trust="enforce", trusted_keys=tmp_path / "trusted")
    os.utime(graph)  # between loading and the first image, when the graph is read
    with pytest.raises(zoo.ZooError, match=r"\.pt2 was exchanged or changed while the model was being loaded"):
        list(zoo.predict(again, list(images)))
    graph.write_bytes(graph.read_bytes() + b"x")
    assert command("verify", exported, "--key", tmp_path / "trusted" / "key.pub")[0] == 1


def test_encrypted_keys(command: Any, tmp_path: Path) -> None:
    private, public = write_keys(tmp_path, curve=CURVES["P-384"])
    locked = write_private(tmp_path / "locked.pem", read_private_key(private), "horse")
    model = save_model(tmp_path / "m")
    (tmp_path / "passphrase").write_text("horse\n")
    assert command("sign", model, "--key", locked, "--passphrase-file", tmp_path / "passphrase")[0] == 0
    descriptor = os.open(tmp_path / "passphrase", os.O_RDONLY)
    assert command("sign", model, "--key", locked, "--passphrase-fd", descriptor)[0] == 0
    os.close(descriptor)
    assert command("verify", model, "--key", public, "--not-before", 2)[0] == 0
    assert command("verify", model, "--key", public, "--not-before", 3)[0] == 1
    status, _, err = command("sign", model, "--key", locked)
    assert status == 2
    assert "is encrypted; pass its passphrase" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("sign", "m"), "expected one way to sign"),
        (("sign", "m", "--key", "key.pub"), "contains a public key; expected a private key"),
        (("sign", "m", "--key", "key.pem", "--identity-token-file", "t"), "--identity-token-file requires --sigstore"),
        (("sign", "m", "--sigstore", "--identity-token-file", "none"), "--identity-token-file none can't be read"),
        (("verify", "m"), "expected one way to verify"),
        (("verify", "m", "--key", "key.pem"), "contains a private key; expected a public key"),
        (("verify", "nowhere", "--key", "key.pub"), "nowhere does not exist"),
        (("verify", "m", "--key", "key.pub", "--not-before", "soon"), "--not-before is 'soon'"),
    ],
)
def test_wrong_input_has_status_2(command: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: Any, message: str) -> None:
    monkeypatch.chdir(tmp_path)
    write_keys(tmp_path)
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "file").write_text("x")
    status, out, err = command(*words)
    assert (status, out) == (2, "")
    assert message in err


def test_a_gallery_belongs_to_the_signed_model(command: Any, tmp_path: Path) -> None:
    private, public = write_keys(tmp_path)
    model = save(build("test_resnet", "face", embedding_size=4, image_size=32), tmp_path / "faces")
    zoo.sign(model, private)
    for place, embedder in {"own": Embedder.of(zoo.load(model)), "other": Embedder("0123456789abcdef", "other")}.items():
        with zoo.Gallery(tmp_path / place, embedder) as gallery:
            gallery.enroll("Ann", np.eye(4, dtype=np.float32)[0])
    status, out, _ = command("verify", model, "--key", public, "--gallery", tmp_path / "own")
    assert status == 0
    assert out.endswith(f"gallery: {tmp_path / 'own'} belongs to this model\n")
    status, _, err = command("verify", model, "--key", public, "--gallery", tmp_path / "other")
    assert status == 1
    assert "belongs to another model, other (0123456789abcdef)" in err
    assert command("verify", model, "--key", public, "--gallery", tmp_path / "none")[0] == 2
