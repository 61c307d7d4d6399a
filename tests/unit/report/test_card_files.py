"""Files of model cards: what is overwritten, signing, the command, and the Hub's validation."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from huggingface_hub import ModelCard, constants

import zoo
from tests.unit.artefacts.encrypted import write_identity
from tests.unit.artefacts.signatures import write_keys
from tests.unit.publishing.conftest import hub as server
from tests.unit.report.cards import faults, metadata_of, trained
from zoo.cli.main import main
from zoo.errors import InputError
from zoo.models.readme import is_generated
from zoo.report.card import card_text

__all__ = ["server"]  # a fixture

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A saved model with the training summary of a run."""
    return trained(tmp_path / "pets")


def test_a_card_is_replaced_unless_it_was_changed(saved: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = zoo.card(saved)
    assert path == saved / "README.md"
    assert "states no licence, which zoo push requires; pass --licence" in caplog.text
    caplog.clear()
    assert zoo.card(saved, licence="MIT") == path
    assert caplog.text == ""
    model = zoo.load(saved)
    zoo.save(model, saved)
    assert not path.exists(), "the card of a replaced model isn't kept"
    zoo.card(saved, licence="MIT")
    path.write_text(path.read_text().replace("Limits", "My limits"))
    assert not is_generated(path)
    with pytest.raises(InputError, match=r"README\.md exists, and zoo card didn't write it, or it was changed since; it will not be"):
        zoo.card(saved)
    with pytest.raises(InputError, match=r"contains README\.md, which the zoo didn't write"):
        zoo.save(model, saved)
    path.write_bytes(b"\xff\n")
    with pytest.raises(InputError, match="exists, and zoo card didn't write it"):
        zoo.card(saved)
    with pytest.raises(InputError, match=r"--out .* is a folder; expected a file, such as .*README\.md"):
        zoo.card(saved, tmp_path)
    assert zoo.card(saved, tmp_path / "other.md").read_text().startswith("---\nlibrary_name: resnet-zoo\n")


def test_a_new_card_ends_a_signature(saved: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    private, public = write_keys(tmp_path / "keys")
    zoo.sign(saved, private)
    zoo.card(saved, licence="MIT")
    assert "model.sig doesn't cover the new card and is no longer valid; sign the model again with zoo sign" in caplog.text
    with pytest.raises(zoo.ZooError, match=r"README\.md was added after signing"):
        zoo.verify(saved, public)
    caplog.clear()
    zoo.sign(saved, private)
    assert "README.md" in zoo.verify(saved, public).files
    zoo.card(saved, tmp_path / "elsewhere.md", licence="MIT")
    assert caplog.text == ""
    zoo.card(saved, licence="Apache-2.0")
    assert "model.sig doesn't cover the new card and is no longer valid; sign the model again with zoo sign" in caplog.text
    with pytest.raises(zoo.ZooError, match=r"README\.md"):
        zoo.verify(saved, public)


@pytest.mark.filterwarnings("ignore:Use 'content=<...>' to upload:DeprecationWarning")  # huggingface-hub's use of its client
@pytest.mark.usefixtures("server")
def test_a_model_of_the_hub_keeps_its_licence_and_its_card(saved: Path, tmp_path: Path) -> None:
    zoo.push(saved, "hf:ann/pets", licence="mit")
    with pytest.raises(InputError, match=r"hf:ann/pets is a repository of the Hub, whose files aren't changed; pass --out FILE"):
        zoo.card("hf:ann/pets")
    content = metadata_of(zoo.card("hf:ann/pets", tmp_path / "card.md").read_text())
    assert (content["license"], "base_model" in content) == ("mit", False)
    assert "# pets\n" in (tmp_path / "card.md").read_text()


def test_the_card_of_an_encrypted_model_needs_a_file(saved: Path, tmp_path: Path) -> None:
    zoo.encrypt(saved, tmp_path / "locked.age", recipients=write_identity(tmp_path / "key.txt"))
    with pytest.raises(InputError, match=r"locked\.age is encrypted, and a model card shows its classes and data unencrypted"):
        zoo.card(tmp_path / "locked.age")
    assert main(["card", str(tmp_path / "locked.age"), "--identity", str(tmp_path / "key.txt"), "--out", str(tmp_path / "card.md")]) == 0
    assert "# locked\n" in (tmp_path / "card.md").read_text()


def test_the_command(saved: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["card", str(saved), "--licence", "MIT"]) == 0
    assert capsys.readouterr().out == f"card: {saved / 'README.md'}\n"
    assert main(["card", str(saved), "--licence", "MIT", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"model": str(saved), "card": str(saved / "README.md")}
    assert main(["card", str(saved.parent)]) == 2
    assert "contains no saved model" in capsys.readouterr().err
    monkeypatch.setattr("zoo.report.card_metadata.find_spec", lambda name: None)
    assert main(["card", str(saved)]) == 2
    assert "a model card requires huggingface-hub; install the extra: pip install 'resnet-zoo[hub]'" in capsys.readouterr().err


def test_the_command_measures_the_speed(saved: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoo.benchmarks.harness.case._BUDGET_S", 0.05)
    assert main(["card", str(saved), "--licence", "MIT", "--latency"]) == 0
    found = re.search(
        r"Measured with eager in fp32 on .*, 1 thread,\nPyTorch .*, images of `demo:digits.*`", (saved / "README.md").read_text()
    )
    assert found is not None
    monkeypatch.setattr("zoo.tasks.classification.data.ClassificationData.sample_data", None)
    assert main(["card", str(saved), "--latency"]) == 2
    assert "--latency measures on built-in images, but the task classification has none; omit it" in capsys.readouterr().err


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    """A local server that checks cards as the Hub does, and the requests that it received."""
    received: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            received.append({"path": self.path, **body})
            found = "; ".join(faults(body["content"]))
            self.send_response(400 if found else 200)
            self.end_headers()
            self.wfile.write(found.encode())

        def log_message(self, *words: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        yield received
        server.shutdown()
        thread.join()


def test_the_validation_of_the_hub(saved: Path, hub: list[dict[str, Any]]) -> None:
    text = card_text(saved, licence="MIT")
    ModelCard(text).validate()
    assert (hub[0]["path"], hub[0]["repoType"]) == ("/api/validate-yaml", "model")
    assert metadata_of(hub[0]["content"]) == metadata_of(text)
    with pytest.raises(ValueError, match='"license" must be one of'):
        ModelCard(text.replace("license: mit", "license: mine")).validate()
